"""Holds a Workflow Run RO-Crate against its profile, without a network.

    python crate.py CRATE PROFILE SEVERITY

The validator reads the JSON-LD context of RO-Crate 1.1 by its address. It is in the package `rocrate`, and from
there put into the validator's own cache, so that `--offline` finds it. Prints what is wrong, one line each; exits
with 1 if anything is.
"""

import io
import json
import sys
import tempfile
from importlib import resources
from pathlib import Path

import requests
import urllib3
from requests_cache import CachedSession
from rocrate_validator import models, services

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


class Shipped(requests.adapters.HTTPAdapter):
    """Answers with the context that a package ships, and with nothing else."""

    def send(self, request, **_):
        body = resources.files("rocrate").joinpath("data/ro-crate.jsonld").read_bytes()
        assert json.loads(body)["@id"] == CONTEXT, "another version of the context"
        raw = urllib3.HTTPResponse(
            body=io.BytesIO(body),
            headers={"Content-Type": "application/ld+json"},
            status=200 if request.url == CONTEXT else 404,
            preload_content=False,
            request_url=request.url,
        )
        return self.build_response(request, raw)


def main() -> int:
    crate, profile, severity = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "cache")
        session = CachedSession(cache_name=cache, backend="sqlite", expire_after=-1)
        session.mount("https://", Shipped())
        session.get(CONTEXT)
        session.close()
        found = services.validate(
            services.ValidationSettings(
                rocrate_uri=crate,
                profile_identifier=profile,
                requirement_severity=models.Severity[severity],
                cache_path=cache,
                offline=True,
            )
        )
        for issue in found.get_issues():
            print(f"{issue.check.identifier}: {issue.violatingEntity}: {issue.message}")
        checks = len(found.executed_checks)
        print(f"{checks} checks of {profile}")
        return 0 if found.passed() and checks else 1


if __name__ == "__main__":
    sys.exit(main())
