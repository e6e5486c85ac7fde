"""Edits a pipeline through `cerb lsp` with a client that people test language servers with.

Run by `runtime/cli/tests/editor.rs` as `python -m pytest lsp_session.py`, with the program named
by `CERB_PROGRAM`. One test is one session: what an editor does while a pipeline is written.
"""

import os
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest
import pytest_lsp
from lsprotocol import types
from pytest_lsp import ClientServerConfig, LanguageClient, client_capabilities

PIPELINE = """cerb 1
root data = "data"
param at: Mpp = 0.5 mpp  # working resolution
let slides = slide.scan(data, "*.svs")
let wsi = for s in slides {
  let mask = tissue.mask(s, at: 8 mpp)
  let maps = stain.nuclei(s, mask, at: att)
  let nuclei = instances.nuclei(maps, min_area: 20 px2)
  { nuclei, geojson: export.geojson(nuclei) }
}
output "{key}/nuclei.geojson" = wsi.geojson
"""


@pytest_lsp.fixture(config=ClientServerConfig(server_command=[os.environ["CERB_PROGRAM"], "lsp"]))
async def client(lsp_client: LanguageClient):
    """A client as Visual Studio Code is one."""
    found = await lsp_client.initialize_session(
        types.InitializeParams(capabilities=client_capabilities("visual-studio-code"))
    )
    assert found.server_info.name == "cerb"
    yield
    await lsp_client.shutdown_session()


class Editor:
    """The text of one file, as an editor holds it, and questions about places in it."""

    def __init__(self, client, path):
        self.client, self.uri = client, path.as_uri()
        self.text, self.version = "", 0
        self.file = types.TextDocumentIdentifier(uri=self.uri)

    def open(self, text):
        self.text = text
        self.client.text_document_did_open(
            types.DidOpenTextDocumentParams(
                types.TextDocumentItem(uri=self.uri, language_id="cerb", version=0, text=text)
            )
        )

    def place(self, mark, behind=False):
        at = self.text.index(mark) + (len(mark) if behind else 0)
        before = self.text[:at]
        line = before.count("\n")
        return types.Position(line, len(before) - (before.rfind("\n") + 1))

    def offset(self, place):
        lines = self.text.split("\n")
        return sum(len(line) + 1 for line in lines[: place.line]) + place.character

    def replace(self, old, new):
        """Types `new` over `old`, as one incremental change."""
        start, end = self.place(old), self.place(old, behind=True)
        self.text = self.text.replace(old, new, 1)
        self.version += 1
        change = types.TextDocumentContentChangePartial(range=types.Range(start, end), text=new)
        identifier = types.VersionedTextDocumentIdentifier(uri=self.uri, version=self.version)
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(text_document=identifier, content_changes=[change])
        )

    def take(self, edits):
        """Makes the edits of an answer, last first, and tells the server."""
        for edit in sorted(edits, key=lambda e: self.offset(e.range.start), reverse=True):
            start, end = self.offset(edit.range.start), self.offset(edit.range.end)
            self.text = self.text[:start] + edit.new_text + self.text[end:]
        self.version += 1
        identifier = types.VersionedTextDocumentIdentifier(uri=self.uri, version=self.version)
        whole = types.TextDocumentContentChangeWholeDocument(text=self.text)
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(text_document=identifier, content_changes=[whole])
        )

    async def told(self):
        """The diagnostics sent next."""
        await self.client.wait_for_notification(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        return list(self.client.diagnostics[self.uri])

    async def hover(self, mark):
        params = types.HoverParams(text_document=self.file, position=self.place(mark))
        return (await self.client.text_document_hover_async(params)).contents.value

    async def offers(self, mark):
        params = types.CompletionParams(text_document=self.file, position=self.place(mark, behind=True))
        found = await self.client.text_document_completion_async(params)
        return [item.label for item in found]


@pytest.mark.asyncio
async def test_a_pipeline_is_written(client: LanguageClient, tmp_path):
    editor = Editor(client, tmp_path / "p.cerb")
    editor.open(PIPELINE)

    # A mistake is shown where it is, with its code, and goes when it is mended.
    (mistake,) = await editor.told()
    assert mistake.code == "lang::unknown_name" and mistake.source == "cerb"
    assert mistake.range.start == editor.place("att)")
    assert "did you mean `at`?" in mistake.message
    page = url2pathname(urlparse(mistake.code_description.href).path)
    assert "unknown_name" in open(page, encoding="utf-8").readline()
    editor.replace("at: att)", "at: at)")
    assert await editor.told() == []

    # Hover: an operator, a parameter, a binding with what is known of it, a unit, an attribute.
    assert "instances.nuclei(" in await editor.hover("instances.nuclei")
    assert "Px2" in await editor.hover("min_area:")
    assert "let nuclei: Instances" in await editor.hover("nuclei = ")
    assert "0.5 mpp — decided on line 7" in await editor.hover("maps = ")
    assert "square pixels" in await editor.hover("px2")

    # Completion: operators of a family, arguments that are missing, units, fields.
    editor.replace("  { nuclei,", "  let x = tissue.\n  { nuclei,")
    assert "tissue.mask" in await editor.offers("let x = tissue.")
    editor.replace("tissue.\n", "tissue.mask(s, \n")
    offers = await editor.offers("let x = tissue.mask(s, ")
    assert "at:" in offers and "slide:" not in offers
    editor.replace("tissue.mask(s, \n", "tissue.mask(s, at: 4 )\n")
    assert "mpp" in await editor.offers("at: 4 ")
    editor.replace("  let x = tissue.mask(s, at: 4 )\n", "")
    editor.replace("= wsi.geojson", "= wsi.")
    assert await editor.offers("= wsi.") == ["geojson", "nuclei"]
    editor.replace("= wsi.", "= wsi.geojson")

    # A call shows what it takes.
    params = types.SignatureHelpParams(text_document=editor.file, position=editor.place("at: 8 mpp"))
    found = await client.text_document_signature_help_async(params)
    assert found.signatures[0].label.startswith("tissue.mask(slide: Slide")

    # Definition, references, highlights.
    params = types.DefinitionParams(text_document=editor.file, position=editor.place("mask, at:"))
    found = await client.text_document_definition_async(params)
    assert found.uri == editor.uri and found.range.start == editor.place("mask = ")
    params = types.ReferenceParams(
        text_document=editor.file,
        position=editor.place("nuclei = "),
        context=types.ReferenceContext(include_declaration=True),
    )
    assert len(await client.text_document_references_async(params)) == 3
    params = types.DocumentHighlightParams(text_document=editor.file, position=editor.place("maps = "))
    assert len(await client.text_document_document_highlight_async(params)) == 2

    # A rename is applied, keeps the field's name, and leaves nothing wrong.
    place = editor.place("nuclei = ")
    params = types.PrepareRenameParams(text_document=editor.file, position=place)
    assert (await client.text_document_prepare_rename_async(params)).start == place
    params = types.RenameParams(text_document=editor.file, position=place, new_name="cells")
    editor.take((await client.text_document_rename_async(params)).changes[editor.uri])
    assert "let cells = instances.nuclei" in editor.text
    assert "{ nuclei: cells, geojson: export.geojson(cells) }" in editor.text

    # Formatting is applied once and then has nothing to do.
    editor.replace("let cells = ", "let   cells  =   ")
    params = types.DocumentFormattingParams(
        text_document=editor.file, options=types.FormattingOptions(tab_size=2, insert_spaces=True)
    )
    editor.take(await client.text_document_formatting_async(params))
    assert "let cells = instances" in editor.text or "let cells  = instances" in editor.text
    assert not await client.text_document_formatting_async(params)

    # Symbols, hints, folds, colours.
    params = types.DocumentSymbolParams(text_document=editor.file)
    found = await client.text_document_document_symbol_async(params)
    assert [s.name for s in found] == ["data", "at", "slides", "wsi", "{key}/nuclei.geojson"]
    assert {"mask", "maps", "cells"} <= {s.name for s in found[3].children}
    params = types.InlayHintParams(
        text_document=editor.file, range=types.Range(types.Position(0, 0), types.Position(99, 0))
    )
    hints = [hint.label for hint in await client.text_document_inlay_hint_async(params)]
    assert ": Map<Key, Slide>" in hints and ": Instances" in hints
    params = types.FoldingRangeParams(text_document=editor.file)
    assert len(await client.text_document_folding_range_async(params)) >= 1
    params = types.SemanticTokensParams(text_document=editor.file)
    assert len((await client.text_document_semantic_tokens_full_async(params)).data) % 5 == 0

    # A mistake of the text is told alone; closing takes everything back.
    editor.replace("output ", "outptu ")
    codes = []
    while codes != ["lang::unexpected_token"]:
        codes = [found.code for found in await editor.told()]
    client.text_document_did_close(types.DidCloseTextDocumentParams(text_document=editor.file))
    assert await editor.told() == []


@pytest.mark.asyncio
async def test_what_lies_beside_a_pipeline_counts(client: LanguageClient, tmp_path):
    # What is inside the program is opened from a copy that is there to be read.
    editor = Editor(client, tmp_path / "p.cerb")
    editor.open('cerb 1\nuse "nuclei" as nuclei\nroot data\nlet slides = slide.scan(data, "*.svs")\n')
    await editor.told()
    params = types.DefinitionParams(text_document=editor.file, position=editor.place('nuclei" as'))
    found = await client.text_document_definition_async(params)
    copy = url2pathname(urlparse(found.uri).path)
    assert "def " in open(copy, encoding="utf-8").read()
    assert os.stat(copy).st_mode & 0o222 == 0

    # A file of this machine's folders that cannot be used is told where it is needed.
    (tmp_path / "cerb.local.yaml").write_text("rots:\n  data: slides\n")
    changed = types.FileEvent((tmp_path / "cerb.local.yaml").as_uri(), types.FileChangeType.Created)
    client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([changed]))
    (mistake,) = [found for found in await editor.told() if found.severity == 1]
    assert mistake.code == "cli::bad_values" and "`rots`" in mistake.message
    assert mistake.range.start == editor.place("slide.scan")
