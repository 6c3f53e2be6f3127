"use strict";

const embedded = JSON.parse(document.getElementById("data").textContent);

/** What the command line gave: of the file itself, or of the server that gave the page. */
async function given() {
  if (embedded !== null) return embedded.lab;
  if (!location.protocol.startsWith("http")) return null;
  return (await fetch("lab.json")).json();
}

given().then(lab => {
  const model = lab === null || lab.model === null ? "no model" : lab.model.name;
  document.getElementById("given").textContent = model;
});
