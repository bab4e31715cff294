
"use strict";
// Renders /openapi.json. Text goes in as text nodes only, never as markup.
const make = (name, text, ...children) => {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
};
const row = (...cells) => make("tr", "", ...cells.map((cell) => make("td", cell)));
const table = (titles, rows) => {
  const head = make("tr", "", ...titles.map((title) => make("th", title)));
  return make("table", "", head, ...rows);
};
const named = (api, value) => {
  if (!value || !value.$ref) return value;
  return value.$ref.split("/").slice(1).reduce((at, step) => at[step], api);
};
const shape = (value) => make("pre", JSON.stringify(value, null, 2));
const operation = (api, path, method, op, shared) => {
  const verb = make("span", method.toUpperCase());
  verb.className = "method";
  const title = make("summary", "", verb, make("code", path), make("span", "  " + (op.summary || "")));
  const body = [make("p", op.description || "")];
  const parameters = [...(shared || []), ...(op.parameters || [])].map((p) => named(api, p));
  if (parameters.length) {
    const rows = parameters.map((p) => row(p.name, p.in, p.required ? "required" : "", p.description || ""));
    body.push(table(["parameter", "in", "", ""], rows));
  }
  const request = named(api, op.requestBody);
  if (request) body.push(make("p", "Body"), shape(request.content["application/json"].schema));
  const answers = Object.entries(op.responses).map(([status, answer]) =>
    row(status, named(api, answer).description || ""));
  body.push(table(["status", "answer"], answers));
  return make("details", "", title, ...body);
};
const render = (api) => {
  const main = document.getElementById("api");
  main.replaceChildren(make("h1", api.info.title + " " + api.info.version), make("p", api.info.description));
  for (const tag of api.tags) {
    main.append(make("h2", tag.name), make("p", tag.description));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of ["get", "post"]) {
        const op = item[method];
        if (op && op.tags.includes(tag.name)) main.append(operation(api, path, method, op, item.parameters));
      }
    }
  }
  main.append(make("h2", "Schemas"));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    main.append(make("details", "", make("summary", name), shape(schema)));
  }
};
fetch("/openapi.json").then((answer) => answer.json()).then(render, (error) => {
  document.getElementById("api").textContent = "openapi.json could not be read: " + error;
});
