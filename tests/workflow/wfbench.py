#!/usr/bin/env python3
"""wfbench: scheduler overhead, no-op, dry-run, early-cutoff and kill -9 tests for
workflow runners on synthetic graphs.  Standard library only, Linux only.

  wfbench.py bench --tools snakemake,dvc,doit,redun,ninja --shapes chain,fan \
                   --sizes 100,1000,10000 --limit 300 --out results.jsonl
  wfbench.py semantics --tools ...     what is rerun after touch / edit / code edit
  wfbench.py crash --tools ...         kill -9 half way, rerun, compare with a clean run
  wfbench.py table results.jsonl       markdown tables from the records
  wfbench.py gen --tools T --shapes S --sizes N --dir DIR    only write the graph

A tool's executable is found on PATH or given as --bin tool=/path/to/exe (repeatable).

Graphs (N nodes in all; every node is one shell command, or one in-process function
for tools named *-inproc):
  chain  n0 -> n1 -> ... ; n0 reads only the FIRST LINE of src.txt, node i checksums node i-1
  fan    src -> (N-2) independent workers -> one gather over all of them
Each node appends its id to runs.log, so the count of executed nodes is ground truth
and does not depend on what the tool prints.  result = the bytes of the last output.
"""
import argparse, hashlib, json, os, shutil, signal, subprocess, sys, tempfile, time
from pathlib import Path

JOBS = 2

# ---------------------------------------------------------------- graph

def graph(shape, n, sleep=0.0, partial=False):
    """-> list of (id, [deps], out, command). Commands use only sh, cksum, head, cat, echo."""
    nodes = []
    def cmd(i, produce, out):
        if partial:   # writes half of its output, pauses, writes the rest: visible torn file
            body = f"echo part > {out}; sleep {sleep}; {produce} >> {out}"
        else:
            body = (f"sleep {sleep}; " if sleep else "") + f"{produce} > {out}"
        return f"{body}; echo {i} >> runs.log"
    if shape == "chain":
        prev = "src.txt"
        for i in range(n):
            out = f"o/{i}.txt"
            produce = f"head -n 1 {prev} | cksum" if i == 0 else f"cksum < {prev}"
            nodes.append((i, [prev], out, cmd(i, produce, out)))
            prev = out
    elif shape == "fan":
        out = "o/src.txt"
        nodes.append((0, ["src.txt"], out, cmd(0, "head -n 1 src.txt | cksum", out)))
        outs = []
        for i in range(1, n - 1):
            w = f"p/{i}.txt"
            nodes.append((i, [out], w, cmd(i, f"(cat {out}; echo {i}) | cksum", w)))
            outs.append(w)
        last = "o/result.txt"
        nodes.append((n - 1, outs, last, cmd(n - 1, "cat p/*.txt | cksum", last)))
    else:
        raise SystemExit(f"unknown shape {shape}")
    return nodes

# ---------------------------------------------------------------- adapters
# gen(d, nodes) writes the tool's files; run/noop/dry give argv; setup runs untimed.

class Tool:
    env = {}
    def setup(self, d): pass
    def recovery(self): return []      # what its own messages tell the user to do after a kill -9
    def dry(self): return None

class Snakemake(Tool):
    exe = "snakemake"
    def gen(self, d, nodes):
        last = nodes[-1][2]
        s = [f'rule all:\n    input: "{last}"\n']
        for i, deps, out, cmd in nodes:
            ins = ", ".join(f'"{x}"' for x in deps)
            s.append(f'rule n{i}:\n    input: {ins}\n    output: "{out}"\n    shell: "{cmd}"\n')
        (d / "Snakefile").write_text("\n".join(s))
    def run(self): return [self.exe, "-j", str(JOBS), "-q", "all"]
    def dry(self): return [self.exe, "-n", "-q", "all"]
    def recovery(self): return [[self.exe, "--unlock"], self.run(), self.run() + ["--rerun-incomplete"]]

class SnakemakeWild(Snakemake):
    """idiomatic: one wildcard rule for the fan / the chain instead of N rules"""
    def gen(self, d, nodes):
        last = nodes[-1][2]; n = len(nodes)
        if last == "o/result.txt":
            s = f'''
rule all:
    input: "o/result.txt"
rule src:
    input: "src.txt"
    output: "o/src.txt"
    shell: "{nodes[0][3]}"
rule worker:
    input: "o/src.txt"
    output: "p/{{i}}.txt"
    shell: "(cat o/src.txt; echo {{wildcards.i}}) | cksum > {{output}}; echo {{wildcards.i}} >> runs.log"
rule gather:
    input: expand("p/{{i}}.txt", i=range(1, {n - 1}))
    output: "o/result.txt"
    shell: "{nodes[-1][3]}"
'''
        else:
            s = f'''
rule all:
    input: "{last}"
rule first:
    input: "src.txt"
    output: "o/0.txt"
    shell: "{nodes[0][3]}"
rule step:
    input: lambda w: "o/%d.txt" % (int(w.i) - 1)
    output: "o/{{i,[1-9][0-9]*}}.txt"
    shell: "cksum < {{input}} > {{output}}; echo {{wildcards.i}} >> runs.log"
'''
        (d / "Snakefile").write_text(s)

class Dvc(Tool):
    exe = "dvc"
    env = {"DVC_NO_ANALYTICS": "1", "DVC_TEST": "false"}
    def gen(self, d, nodes):
        s = ["stages:"]
        for i, deps, out, cmd in nodes:
            s.append(f"  n{i}:\n    cmd: {json.dumps(cmd)}\n    deps:")
            s += [f"    - {x}" for x in deps]
            s.append(f"    outs:\n    - {out}")
        (d / "dvc.yaml").write_text("\n".join(s) + "\n")
    def setup(self, d):
        q = dict(cwd=d, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        subprocess.run([self.exe, "init", "--no-scm", "-q"], **q)
        subprocess.run([self.exe, "config", "core.analytics", "false"], **q)
        subprocess.run([self.exe, "config", "core.check_update", "false"], **q)
    def run(self): return [self.exe, "repro", "-q"]
    def dry(self): return [self.exe, "repro", "--dry", "-q"]

class Doit(Tool):
    exe = "doit"
    def gen(self, d, nodes):
        (d / "graph.json").write_text(json.dumps([list(x) for x in nodes]))
        (d / "dodo.py").write_text(
            "import json\n"
            "DOIT_CONFIG = {'verbosity': 0, 'reporter': 'zero'}\n"
            "def task_n():\n"
            "    for i, deps, out, cmd in json.load(open('graph.json')):\n"
            "        yield {'name': str(i), 'file_dep': deps, 'targets': [out], 'actions': [cmd]}\n")
    def run(self): return [self.exe, "run", "-n", str(JOBS), "-P", "thread"]
    def dry(self): return [self.exe, "list", "--all", "--status"]   # nearest thing: no dry run

class Redun(Tool):
    """redun's unit is a Python function; each runs one shell command in a worker thread"""
    exe = "redun"
    def gen(self, d, nodes):
        (d / "graph.json").write_text(json.dumps([list(x) for x in nodes]))
        (d / "flow.py").write_text(
            "import json, subprocess\n"
            "from typing import List\n"
            "from redun import task, File\n"
            "redun_namespace = 'wf'\n"
            "@task()\n"
            "def node(i: int, ins: List[File], out: str, cmd: str) -> File:\n"
            "    subprocess.run(['sh', '-c', cmd], check=True)\n"
            "    return File(out)\n"
            "@task()\n"
            "def main(graph: File = File('graph.json')) -> File:\n"   # so that the graph is an input
            "    val = {'src.txt': File('src.txt')}\n"
            "    for i, deps, out, cmd in json.loads(graph.read()):\n"
            "        val[out] = node(i, [val[x] for x in deps], out, cmd)\n"
            "    return val[out]\n")
        (d / ".redun").mkdir()
        (d / ".redun/redun.ini").write_text(
            "[backend]\ndb_uri = sqlite:///redun.db\n"
            f"[executors.default]\ntype = local\nmax_workers = {JOBS}\n")
    def run(self): return [self.exe, "run", "flow.py", "main"]
    def dry(self): return [self.exe, "run", "--dryrun", "flow.py", "main"]

class Ninja(Tool):
    exe = "ninja"
    def gen(self, d, nodes):
        s = ["rule r\n  command = $cmd\n"]
        for i, deps, out, cmd in nodes:
            s.append(f"build {out}: r {' '.join(deps)}\n  cmd = {cmd.replace('$', '$$')}")
        s.append(f"default {nodes[-1][2]}\n")
        (d / "build.ninja").write_text("\n".join(s))
    def run(self): return [self.exe, "-j", str(JOBS), "--quiet"]
    def dry(self): return [self.exe, "-n", "--quiet"]

class Make(Tool):
    exe = "make"
    def gen(self, d, nodes):
        s = [f"all: {nodes[-1][2]}\n"]
        for i, deps, out, cmd in nodes:
            s.append(f"{out}: {' '.join(deps)}\n\t{cmd.replace('$', '$$')}\n")
        (d / "Makefile").write_text("\n".join(s))
    def run(self): return [self.exe, "-s", "-j", str(JOBS)]
    def dry(self): return [self.exe, "-n"]

class Cwltool(Tool):
    """cwltool stages every step in its own directory, so node files are its own; the
    commands are the same.  --cachedir makes the second run a no-op."""
    exe = "cwltool"
    def gen(self, d, nodes):
        steps, last = {}, nodes[-1][2]
        name = {x[2]: f"n{x[0]}" for x in nodes}
        log = str(d / "runs.log")
        def ref(x): return "src" if x == "src.txt" else name[x] + "/out"
        for i, deps, out, cmd in nodes:
            many = len(deps) > 1
            body = ("true; " if cmd.startswith("true; ") else "") + (
                "head -n 1 \"$@\" | cksum" if i == 0 else
                "cat \"$@\" | cksum" if many else f"(cat \"$@\"; echo {i}) | cksum")
            steps[f"n{i}"] = {"run": {"class": "CommandLineTool",
                "baseCommand": ["sh", "-c", f"{body}; echo {i} >> {log}", "sh"],
                "inputs": {"x": {"type": "File[]" if many else "File", "inputBinding": {"position": 1}}},
                "outputs": {"out": {"type": "stdout"}}, "stdout": f"{i}.txt"},
                "in": {"x": {"source": [ref(x) for x in deps] if many else ref(deps[0])}},
                "out": ["out"]}
        (d / "wf.cwl").write_text(json.dumps({"cwlVersion": "v1.2", "class": "Workflow",
            "requirements": {"MultipleInputFeatureRequirement": {}},
            "inputs": {"src": "File"},
            "outputs": {"result": {"type": "File", "outputSource": name[last] + "/out"}},
            "steps": steps}))
        (d / "job.json").write_text(json.dumps({"src": {"class": "File", "location": "src.txt"}}))
    def run(self): return [self.exe, "--quiet", "--parallel", "--cachedir", "cache",
                           "--outdir", "final", "wf.cwl", "job.json"]
    def dry(self): return [self.exe, "--quiet", "--validate", "wf.cwl"]

class Cerb(Tool):
    """a chain of separate `let`s, each with its output; a fan as people write it, with one `for`
    over the files of a folder. Programs may write in their own directory and in /dev/shm alone,
    so that is where runs.log lies."""
    exe = "cerb"
    def gen(self, d, nodes):
        log = d / "runs.log"
        if not log.is_symlink():
            target = Path(tempfile.mkdtemp(prefix="wfbench-", dir="/dev/shm")) / "runs.log"
            target.touch(); log.symlink_to(target)
        self.log, self.ops, self.lines = log.resolve(), {}, []
        last = nodes[-1]
        if last[2] != "o/result.txt":
            for i, (dep,), out, cmd in nodes:
                x = f"n{i - 1}" if i else "src"
                self.let(f"n{i}", out, "x: File, id: Int", f"{x}, id: {i}",
                         self.ports(cmd, (out, "{file}"), (dep, "{x}"), (f"echo {i};", "echo {id};"),
                                    (f"echo {i} >>", "echo {id} >>")))
        else:
            (d / "items").mkdir(exist_ok=True)
            for i, *_ in nodes[1:-1]: (d / "items" / f"{i}.txt").write_text(f"{i}\n")
            i, (dep,), out, cmd = nodes[0]
            self.let("n0", out, "x: File", "src", self.ports(cmd, (out, "{file}"), (dep, "{x}")))
            i, (dep,), out, cmd = nodes[1]
            self.lines.append('let items = file.scan(here, "items/*.txt")')
            self.let("p", "p/{key}.txt", "x: File, item: File", "n0, i",
                     self.ports(cmd, (out, "{file}"), (dep, "{x}"), (f"echo {i}", "cat {item}")),
                     "for i in items { %s }")
            i, _, out, cmd = last
            self.let("result", out, "x: Map<Key, File>", "p", self.ports(cmd, (out, "{file}"), ("p/*.txt", "{x}/*")))
        ops = [f"op bench.{name}({ports}, log: Str) -> File {{\n  run {json.dumps(run)}\n  revision 1\n}}"
               for (ports, run), name in self.ops.items()]
        head = [f"let log = {json.dumps(str(self.log))}", 'root here = "."', 'let src = file.open(here, "src.txt")']
        (d / "bench.cerb").write_text("\n".join(head + ops + self.lines) + "\n")
    def ports(self, cmd, *pairs):
        """the same command with ports in the place of paths; braces of the shell are doubled"""
        cmd = cmd.replace("{", "{{").replace("}", "}}").replace(">> runs.log", ">> {log}")
        for old, new in pairs: cmd = cmd.replace(old, new)
        return cmd
    def let(self, name, out, ports, args, run, around="%s"):
        op = self.ops.setdefault((ports, run), f"op{len(self.ops)}")
        self.lines += [f"let {name} = " + around % f"bench.{op}({args}, log: log)", f'output "{out}" = {name}']
    def run(self): return [self.exe, "run", "bench.cerb", "-j", str(JOBS), "--out", "."]
    def dry(self): return [self.exe, "plan", "bench.cerb"]

TOOLS = {"snakemake": Snakemake, "snakemake-wild": SnakemakeWild, "dvc": Dvc, "doit": Doit,
         "redun": Redun, "ninja": Ninja, "make": Make, "cwltool": Cwltool, "cerb": Cerb}

# ---------------------------------------------------------------- measuring

def spawn(argv, d, env, log):
    e = dict(os.environ, **env)
    # the tool's own directory first, so that it finds its sibling executables
    e["PATH"] = os.path.dirname(argv[0]) + os.pathsep + e["PATH"]
    e["XDG_CACHE_HOME"] = str(d / ".cache")
    f = open(log, "ab")
    return subprocess.Popen(argv, cwd=d, env=e, stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                            start_new_session=True)

def killpg(p):
    try: os.killpg(p.pid, signal.SIGKILL)
    except ProcessLookupError: pass

def count(d):
    try: return (d / "runs.log").read_bytes().count(b"\n")
    except FileNotFoundError: return 0

def measure(argv, d, env, limit):
    """wall s, cpu s of the whole tree, peak RSS of the tool's main process, nodes executed"""
    log = d / "tool.log"; log.write_bytes(b"")
    before = count(d); t0 = time.monotonic()
    p = spawn(argv, d, env, log)
    timed_out, peak = False, 0
    while True:
        try:      # VmHWM, not ru_maxrss: the latter keeps this script's own size across exec
            for l in open(f"/proc/{p.pid}/status"):
                if l.startswith("VmHWM"): peak = max(peak, int(l.split()[1]))
        except OSError: pass
        pid, status, ru = os.wait4(p.pid, os.WNOHANG)
        if pid: break
        if time.monotonic() - t0 > limit:
            timed_out = True; killpg(p)
            pid, status, ru = os.wait4(p.pid, 0); break
        time.sleep(0.001 if time.monotonic() - t0 < 2 else 0.02)
    wall = time.monotonic() - t0
    p.returncode = os.waitstatus_to_exitcode(status)
    tail = log.read_bytes()[-600:].decode("utf-8", "replace")
    return {"wall": round(wall, 3), "cpu": round(ru.ru_utime + ru.ru_stime, 3),
            "rss_mib": round(peak / 1024, 1), "rc": p.returncode,
            "ran": count(d) - before, "timed_out": timed_out,
            "tail": "" if p.returncode == 0 else tail}

def fresh(tool, root, shape, n, **kw):
    d = Path(tempfile.mkdtemp(prefix=f"{shape}{n}-", dir=root))
    (d / "o").mkdir(); (d / "p").mkdir()
    (d / "src.txt").write_text("first line\nsecond line\n")
    nodes = graph(shape, n, **kw)
    tool.gen(d, nodes)
    tool.setup(d)
    return d, nodes

def result(d, nodes):
    for x in (d / nodes[-1][2], d / "final" / f"{nodes[-1][0]}.txt"):
        if x.exists(): return hashlib.sha256(x.read_bytes()).hexdigest()[:12]
    return None

def emit(rec, out):
    rec = {"load1": round(os.getloadavg()[0], 2), **rec}
    print(json.dumps(rec), flush=True)
    if out:
        with open(out, "a") as f: f.write(json.dumps(rec) + "\n")

def bench(a, tools, root):
    for tname, tool in tools.items():
        for shape in a.shapes:
            skip = False
            for n in a.sizes:
                base = {"kind": "bench", "tool": tname, "shape": shape, "n": n}
                if skip:
                    emit({**base, "phase": "cold", "skipped": "smaller size passed the limit"}, a.out); continue
                d, nodes = fresh(tool, root, shape, n)
                if tool.dry():
                    emit({**base, "phase": "dry", **measure(tool.dry(), d, tool.env, a.limit)}, a.out)
                r = measure(tool.run(), d, tool.env, a.limit)
                emit({**base, "phase": "cold", **r, "result": result(d, nodes)}, a.out)
                if r["timed_out"] or r["rc"] != 0: skip = True
                else:
                    emit({**base, "phase": "noop", **measure(tool.run(), d, tool.env, a.limit)}, a.out)
                if not a.keep: shutil.rmtree(d, ignore_errors=True)

def semantics(a, tools, root):
    """how many nodes rerun after each kind of change (chain of n)"""
    n = a.sizes[0]
    for tname, tool in tools.items():
        d, nodes = fresh(tool, root, "chain", n)
        def go(what):
            emit({"kind": "semantics", "tool": tname, "n": n, "change": what,
                  **measure(tool.run(), d, tool.env, a.limit), "result": result(d, nodes)}, a.out)
        go("cold")
        time.sleep(1.1); os.utime(d / "src.txt"); go("touch source (same bytes)")
        time.sleep(1.1); (d / "src.txt").write_text("first line\nSECOND line\n")
        go("edit source, first node's output unchanged (cutoff: 1)")
        mid = n // 2
        time.sleep(1.1)
        new = [(i, de, o, ("true; " + c) if i == mid else c) for i, de, o, c in nodes]
        if (d / ".redun").exists(): (d / ".redun").rename(d / ".redun.keep")
        tool.gen(d, new)
        if (d / ".redun.keep").exists():
            shutil.rmtree(d / ".redun"); (d / ".redun.keep").rename(d / ".redun")
        go("edit middle node's command, same output (cutoff: 1)")
        time.sleep(1.1)
        o = d / nodes[mid][2]
        if o.exists():
            os.chmod(o, 0o644); o.unlink(); go("delete the middle output")
            time.sleep(1.1)
            if o.exists():
                o.unlink()
            o.write_text("tampered\n"); go("overwrite the middle output by hand")
            ref = result_of_clean(tool, root, n)
            emit({"kind": "semantics", "tool": tname, "n": n, "change": "  ... final result equals a clean run's",
                  "ok": result(d, nodes) == ref}, a.out)
        if not a.keep: shutil.rmtree(d, ignore_errors=True)

def result_of_clean(tool, root, n, shape="chain", **kw):
    d, nodes = fresh(tool, root, shape, n, **kw)
    measure(tool.run(), d, tool.env, 600); r = result(d, nodes)
    shutil.rmtree(d, ignore_errors=True); return r

def crash(a, tools, root):
    """kill -9 the whole process group (tool + children) when half of the nodes have run,
    each node being torn open for `sleep` seconds; then rerun up to 3 times with no help."""
    n = a.sizes[0]
    for tname, tool in tools.items():
        kw = dict(sleep=0.15, partial=True)
        ref = result_of_clean(tool, root, n, "fan", **kw)
        d, nodes = fresh(tool, root, "fan", n, **kw)
        log = d / "tool.log"; log.write_bytes(b"")
        p = spawn(tool.run(), d, tool.env, log)
        t0 = time.monotonic()
        while count(d) < n // 2 and p.poll() is None and time.monotonic() - t0 < a.limit:
            time.sleep(0.005)
        time.sleep(0.07)                       # land inside a node
        killpg(p); p.wait(); time.sleep(0.5)
        done = count(d)
        # a torn output has the first half only
        torn = [x.name for x in (d / "p").glob("*.txt") if x.read_text() == "part\n"]
        emit({"kind": "crash", "tool": tname, "n": n, "step": "killed", "done_before": done, "torn": len(torn)}, a.out)
        for k in range(1, 4):
            r = measure(tool.run(), d, tool.env, a.limit)
            same = result(d, nodes) == ref
            emit({"kind": "crash", "tool": tname, "n": n, "step": f"rerun {k}", **r,
                  "lost": max(0, done + r["ran"] - n) if r["rc"] == 0 else None,
                  "correct": same}, a.out)
            if r["rc"] == 0: break
        else:
            for argv in tool.recovery():
                r = measure(argv, d, tool.env, a.limit)
                emit({"kind": "crash", "tool": tname, "n": n, "step": "recovery: " + " ".join(argv[1:]), **r,
                      "lost": max(0, done + r["ran"] - n) if r["ran"] else None,
                      "correct": result(d, nodes) == ref}, a.out)
        if not a.keep: shutil.rmtree(d, ignore_errors=True)

def table(paths):
    rs = [json.loads(l) for p in paths for l in open(p) if l.strip()]
    b = [r for r in rs if r["kind"] == "bench"]
    print("| tool | shape | n | cold s | ms/node (wall) | ms/node (cpu) | no-op s | no-op ran | dry s | peak MiB cold | peak MiB no-op |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    keys = []
    for r in b:
        k = (r["tool"], r["shape"], r["n"])
        if k not in keys: keys.append(k)
    for k in keys:
        ph = {r["phase"]: r for r in b if (r["tool"], r["shape"], r["n"]) == k}
        c, no, dr = ph.get("cold", {}), ph.get("noop", {}), ph.get("dry", {})
        if "skipped" in c: print(f"| {k[0]} | {k[1]} | {k[2]} | skipped: {c['skipped']} |" + " |" * 7); continue
        ran = max(1, c.get("ran", 0))
        tag = (f">{c['wall']:.0f} ({c['ran']} of {k[2]} done)" if c.get("timed_out")
               else f"rc {c['rc']}" if c.get("rc") else f"{c['wall']:.2f}")
        f = lambda r, x: "" if x not in r else (f"{r[x]:.2f}" if isinstance(r[x], float) else str(r[x]))
        print(f"| {k[0]} | {k[1]} | {k[2]} | {tag} | {1000*c['wall']/ran:.1f} | {1000*c['cpu']/ran:.1f} | "
              f"{f(no,'wall')} | {f(no,'ran')} | {'rc '+str(dr['rc']) if dr.get('rc') else f(dr,'wall')} | {f(c,'rss_mib')} | {f(no,'rss_mib')} |")

def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("cmd", choices=["bench", "semantics", "crash", "gen", "table"])
    ap.add_argument("paths", nargs="*")
    ap.add_argument("--tools", default="snakemake,dvc,doit,redun,ninja,make")
    ap.add_argument("--shapes", default="chain,fan"); ap.add_argument("--sizes", default="100,1000")
    ap.add_argument("--limit", type=float, default=300); ap.add_argument("--out")
    ap.add_argument("--bin", action="append", default=[]); ap.add_argument("--dir")
    ap.add_argument("--keep", action="store_true")
    a = ap.parse_args()
    if a.cmd == "table": return table(a.paths)
    a.shapes = a.shapes.split(","); a.sizes = [int(x) for x in a.sizes.split(",")]
    bins = dict(x.split("=", 1) for x in a.bin)
    tools = {}
    for t in a.tools.split(","):
        o = TOOLS[t](); o.exe = bins.get(t, bins.get(t.split("-")[0], o.exe))
        if not shutil.which(o.exe): print(f"skip {t}: no executable", file=sys.stderr); continue
        o.exe = os.path.abspath(shutil.which(o.exe)); tools[t] = o
    root = Path(a.dir or tempfile.mkdtemp(prefix="wfbench-")); root.mkdir(parents=True, exist_ok=True)
    if a.cmd == "gen":
        for o in tools.values(): print(fresh(o, root, a.shapes[0], a.sizes[0])[0])
        return
    {"bench": bench, "semantics": semantics, "crash": crash}[a.cmd](a, tools, root)
    if not a.dir and not a.keep: shutil.rmtree(root, ignore_errors=True)

if __name__ == "__main__": main()
