// Starts `cerb lsp` and hands it the pipelines that are open.

const { workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

function activate() {
  const command = workspace.getConfiguration("cerb").get("path");
  const documents = [
    { language: "cerb" },
    { language: "yaml", pattern: "**/*.cerb.{yaml,yml}" },
  ];
  client = new LanguageClient("cerb", "cerb", { command, args: ["lsp"] }, {
    documentSelector: documents,
    synchronize: { fileEvents: workspace.createFileSystemWatcher("**/{*.cerb,cerb.local.yaml}") },
  });
  return client.start();
}

function deactivate() {
  return client?.stop();
}

module.exports = { activate, deactivate };
