// Renders /api/v1/openapi.json as a page. Text is inserted as text, never as markup.
"use strict";

/** Where everything of this server is: this page is just below, whatever a proxy has in front of it. */
const root = new URL(".", location.href).href;

/** An element with attributes and children; a child is a node, a text, or nothing. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Text in which `this` is code. */
function prose(text) {
  return text.split("`").map((piece, index) => (index % 2 ? element("code", {}, piece) : piece));
}

const paragraphs = (text) => (text ?? "").split("\n\n").filter(Boolean).map((part) => element("p", {}, prose(part)));

class Page {
  constructor(api) {
    this.api = api;
  }

  /** A schema with its reference followed. */
  resolve(schema) {
    const name = schema.$ref?.split("/").pop();
    return name ? { title: name, ...this.api.components.schemas[name] } : schema;
  }

  operations() {
    const methods = ["get", "post", "put", "delete"];
    return Object.entries(this.api.paths).flatMap(([path, item]) =>
      methods.filter((method) => item[method]).map((method) => ({ path, method, ...item[method] })),
    );
  }

  draw(contents, main) {
    const { info, tags } = this.api;
    main.replaceChildren(
      element("h1", {}, info.title),
      element("p", { class: "quiet" }, `Version ${info.version} · `, element("a", { href: `${root}api/v1/openapi.json` }, "openapi.json")),
      ...paragraphs(info.description),
      this.tokens(),
    );
    for (const tag of tags) {
      const operations = this.operations().filter((operation) => operation.tags?.includes(tag.name));
      contents.append(element("h2", {}, tag.name), ...operations.map((operation) => this.entry(operation)));
      main.append(element("h2", { id: tag.name }, tag.name), ...paragraphs(tag.description));
      main.append(...operations.map((operation) => this.operation(operation)));
    }
  }

  entry({ method, summary, operationId }) {
    return element("a", { href: `#${operationId}` }, element("span", { class: `method ${method}` }, method), element("span", {}, summary));
  }

  tokens() {
    const schemes = Object.entries(this.api.components.securitySchemes);
    const rows = schemes.map(([name, scheme]) => [element("code", {}, name), scheme.name, prose(scheme.description)]);
    return element("section", {}, element("h4", {}, "Tokens"), table(["Token", "Header", ""], rows));
  }

  operation(operation) {
    const { method, path, summary, description, operationId, parameters, requestBody, responses, security } = operation;
    return element(
      "article",
      { id: operationId },
      element("h3", {}, summary),
      element("p", { class: "path" }, element("span", { class: `method ${method}` }, method), " ", path),
      paragraphs(description),
      element("p", { class: "quiet" }, this.opens(security)),
      parameters ? [element("h4", {}, "Parameters"), this.parameters(parameters)] : null,
      requestBody ? [element("h4", {}, "Body"), this.body(requestBody)] : null,
      element("h4", {}, "Answers"),
      this.answers(responses),
      element("details", {}, element("summary", {}, "With curl"), element("pre", {}, this.curl(operation))),
    );
  }

  opens(security) {
    const names = (security ?? []).flatMap((scheme) => Object.keys(scheme));
    if (names.length === 0) return "No token.";
    return ["Token: ", names.flatMap((name, index) => [index ? " or " : "", element("code", {}, name)]), "."];
  }

  parameters(parameters) {
    const rows = parameters.map(({ name, in: place, description, schema }) => [
      element("code", {}, name),
      `${place}, ${kind(schema)}`,
      prose(description ?? ""),
    ]);
    return table(["Name", "", ""], rows);
  }

  body({ content, description }) {
    return Object.entries(content).map(([media, { schema }]) =>
      element("div", {}, element("p", {}, element("code", {}, media)), paragraphs(description), this.schema(schema)),
    );
  }

  answers(responses) {
    const rows = Object.entries(responses).map(([status, { description, content }]) => {
      const json = content?.["application/json"];
      return [
        element("code", {}, status),
        [prose(description), json ? element("details", {}, element("summary", {}, "Body"), this.schema(json.schema)) : null],
      ];
    });
    return table(["Status", ""], rows);
  }

  /** What a value is, with its members below. */
  schema(given) {
    const schema = this.resolve(given);
    const choices = schema.oneOf ?? schema.anyOf;
    if (choices) {
      return element("div", {}, element("p", { class: "quiet" }, "One of:"), choices.map((choice) => element("div", { class: "choice" }, this.schema(choice))));
    }
    if (schema.type === "array" && this.isDeep(schema.items)) {
      return element("div", {}, element("p", { class: "quiet" }, "A list, of each:"), this.schema(schema.items));
    }
    if (!schema.properties) return element("div", {}, this.line(schema));
    const required = new Set(schema.required);
    const members = Object.entries(schema.properties).map(([name, value]) => this.member(name, value, required.has(name)));
    return element("div", {}, paragraphs(schema.description), element("ul", { class: "members" }, members));
  }

  isDeep(given) {
    const schema = this.resolve(given ?? {});
    return Boolean(schema.properties || schema.oneOf || schema.anyOf);
  }

  member(name, given, required) {
    const schema = this.resolve(given);
    const head = [element("code", {}, name), " ", element("span", { class: "quiet" }, required ? "" : "optional, ")];
    if (this.isDeep(schema)) return element("li", {}, head, this.schema(schema));
    if (schema.type === "array" && this.isDeep(schema.items)) return element("li", {}, head, this.schema(schema));
    return element("li", {}, head, this.line(schema));
  }

  /** A value without members, in a line. */
  line(schema) {
    const example = schema.example ?? schema.examples?.[0];
    return [
      element("span", { class: "quiet" }, kind(this.resolve(schema), this), ". "),
      prose(schema.description ?? ""),
      example === undefined ? null : [" Example: ", element("code", {}, text(example))],
    ];
  }

  curl({ method, path, security, requestBody, parameters }) {
    const lines = [`curl -X ${method.toUpperCase()} ${root}${path.slice(1)}`];
    const [token] = (security ?? []).flatMap((scheme) => Object.keys(scheme));
    if (token) lines.push(`-H 'Authorization: ${token.toUpperCase()}'`);
    for (const { name, in: place } of parameters ?? []) if (place === "header") lines.push(`-H '${name}: N'`);
    const [media] = Object.keys(requestBody?.content ?? {});
    if (media) lines.push(`-H 'Content-Type: ${media}'`, media.endsWith("json") ? "-d @body.json" : "--data-binary @encodings.bin");
    return lines.join(" \\\n  ");
  }
}

const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** The type of a value and its limits, in words. */
function kind(schema, page) {
  const types = [schema.type ?? "any"].flat().join(" or ");
  const items = schema.type === "array" && schema.items ? ` of ${kind(page?.resolve(schema.items) ?? schema.items, page)}` : "";
  const limits = [
    schema.enum && `one of ${schema.enum.map(text).join(", ")}`,
    schema.pattern === "^[0-9a-f]{48}$" && "48 hex characters",
    schema.minimum !== undefined && `at least ${schema.minimum}`,
    schema.exclusiveMinimum !== undefined && `above ${schema.exclusiveMinimum}`,
    schema.maximum !== undefined && `at most ${schema.maximum}`,
    schema.default !== undefined && `by default ${JSON.stringify(schema.default)}`,
  ].filter(Boolean);
  return [types + items, ...limits].join(", ");
}

function table(heads, rows) {
  const head = heads.some(Boolean) ? element("thead", {}, element("tr", {}, heads.map((cell) => element("th", {}, cell)))) : null;
  const body = rows.map((row) => element("tr", {}, row.map((cell) => element("td", {}, cell))));
  return element("div", { class: "scroll" }, element("table", {}, head, element("tbody", {}, body)));
}

async function start() {
  const main = document.getElementById("page");
  try {
    const answer = await fetch(`${root}api/v1/openapi.json`);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    new Page(await answer.json()).draw(document.getElementById("contents"), main);
    document.getElementById(location.hash.slice(1))?.scrollIntoView();
  } catch (error) {
    main.replaceChildren(element("h1", {}, "Nothing to show"), element("p", {}, `Cannot read ${root}api/v1/openapi.json: ${error.message}.`));
  }
}

start();
