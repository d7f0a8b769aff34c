/**
 * The OpenAPI document as a page: by tag, collapsed, without a script. Nothing is loaded from anywhere, and everything shown
 * is escaped by `html`.
 */
import { html, raw } from 'hono/html';
import { z } from 'zod';
import { nameOfRef, Schema, typeText } from './schema-text.ts';

const Parameter = z.object({
  name: z.string(),
  in: z.string(),
  required: z.boolean().optional(),
  description: z.string().optional(),
  schema: Schema.optional(),
});
type Parameter = z.infer<typeof Parameter>;

const Content = z.record(z.string(), z.object({ schema: Schema.optional() }));

const Reference = z.object({ $ref: z.string() });
const Answer = z.object({ description: z.string(), content: Content.optional() });

const Operation = z.object({
  summary: z.string().default(''),
  description: z.string().default(''),
  tags: z.array(z.string()).default([]),
  parameters: z.array(z.union([Reference, Parameter])).default([]),
  requestBody: z.object({ content: Content }).optional(),
  responses: z.record(z.string(), z.union([Reference, Answer])),
});
type Operation = z.infer<typeof Operation>;

const METHODS = ['get', 'head', 'post', 'put', 'patch', 'delete'];

/** What the page needs of the document. Paths hold `parameters` and the like besides the methods: these are left out. */
const Document = z.object({
  info: z.object({ title: z.string(), description: z.string().default('') }),
  paths: z.record(z.string(), z.record(z.string(), z.unknown())),
  components: z.object({
    schemas: z.record(z.string(), Schema).default({}),
    parameters: z.record(z.string(), Parameter).default({}),
    responses: z.record(z.string(), Answer).default({}),
  }),
});
type Document = z.infer<typeof Document>;

type Html = ReturnType<typeof html>;

interface Described {
  method: string;
  path: string;
  operation: Operation;
}

export interface DocsPage {
  text: string;
  /** Lets in the page's own style, by its hash, and nothing else. */
  policy: string;
}

/** The page of a document that `describeApi` made. It takes some 100 ms to make and is the same for everybody: keep it. */
export async function docsPage(document: unknown): Promise<DocsPage> {
  const known = Document.parse(document);
  const byTag = new Map<string, Described[]>();
  for (const one of listOperations(known)) {
    for (const tag of one.operation.tags) byTag.set(tag, [...(byTag.get(tag) ?? []), one]);
  }
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${known.info.title} API</title>
<style>${raw(STYLE)}</style>
</head>
<body>
<main>
<h1>${known.info.title} API</h1>
${known.info.description.split('\n\n').map((paragraph) => html`<p>${paragraph}</p>`)}
<p>For programs: <a href="/openapi.json">/openapi.json</a></p>
${[...byTag].sort(([a], [b]) => a.localeCompare(b)).map(([tag, list]) => tagSection(known, tag, list))}
<h2>Schemas</h2>
${Object.entries(known.components.schemas).map(([name, schema]) => schemaSection(name, schema))}
</main>
</body>
</html>
`;
  const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(STYLE));
  const source = `'sha256-${btoa(String.fromCharCode(...new Uint8Array(hash)))}'`;
  return {
    text: String(await page),
    policy: `default-src 'none'; style-src ${source}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  };
}

const listOperations = ({ paths }: Document): Described[] =>
  Object.entries(paths).flatMap(([path, methods]) =>
    METHODS.flatMap((method) =>
      methods[method] === undefined ? [] : [{ method, path, operation: Operation.parse(methods[method]) }],
    ),
  );

const tagSection = (document: Document, tag: string, list: readonly Described[]): Html => html`
<details>
<summary><h2>${tag}</h2> <small>${list.length}</small></summary>
${list.map((one) => operationSection(document, one))}
</details>`;

function operationSection(document: Document, { method, path, operation }: Described): Html {
  const parameters = operation.parameters.flatMap((one) => {
    const found = '$ref' in one ? document.components.parameters[nameOfRef(one.$ref)] : one;
    return found === undefined ? [] : [found];
  });
  const bodies = Object.entries(operation.requestBody?.content ?? {});
  return html`
<details class="operation">
<summary><b class="${method}">${method.toUpperCase()}</b> <code>${path}</code> ${operation.summary}</summary>
<p>${operation.description}</p>
${parameters.length === 0 ? '' : parameterTable(parameters)}
${bodies.map(([type, { schema = {} }]) => bodyText(type, schema))}
<p>${Object.entries(operation.responses).map(([status, one]) => {
    const answer = '$ref' in one ? document.components.responses[nameOfRef(one.$ref)] : one;
    const { description = '', content = {} } = answer ?? {};
    const [[type, { schema }] = ['', {}]] = Object.entries(content);
    const shown = schema?.$ref === undefined ? html`${type === '*/*' ? '' : type}` : typeOf(schema);
    return html`<code>${status}</code> ${description} ${shown}<br>`;
  })}</p>
</details>`;
}

function bodyText(type: string, schema: Schema): Html {
  const shown = schema.type === undefined ? html`${schema.description ?? ''}` : fields(schema);
  return schema.$ref === undefined ? html`<p>Body: ${type}</p>${shown}` : html`<p>Body: ${typeOf(schema)}</p>`;
}

const parameterTable = (parameters: readonly Parameter[]): Html => html`
<table>
${parameters.map(
  (one) => html`<tr><td><code>${one.name}</code></td><td>${one.in}</td><td>${typeOf(one.schema ?? {})}</td>
<td>${one.description ?? ''}</td></tr>
`,
)}</table>`;

function schemaSection(name: string, schema: Schema): Html {
  const example = schema.example ?? schema.examples?.[0];
  return html`
<details class="operation" id="${name}">
<summary><code>${name}</code> ${schema.description ?? ''}</summary>
${fields(schema)}
${example === undefined ? '' : html`<pre>${JSON.stringify(example, null, 2)}</pre>`}
</details>`;
}

function fields(schema: Schema): Html {
  const { properties = {}, required = [] } = schema;
  const rows = Object.entries(properties);
  if (rows.length === 0) return html`<p>${typeText(schema)}</p>`;
  return html`<table>
${rows.map(
  ([name, of]) => html`<tr><td><code>${name}</code></td><td>${required.includes(name) ? 'required' : ''}</td>
<td>${typeOf(of)}</td><td>${of.description ?? ''}</td></tr>
`,
)}</table>`;
}

const typeOf = (schema: Schema): Html =>
  schema.$ref === undefined
    ? html`${typeText(schema)}`
    : html`<a href="#${nameOfRef(schema.$ref)}">${nameOfRef(schema.$ref)}</a>`;

const STYLE = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0 auto; padding: 2rem 1.25rem; max-width: 60rem; }
h1 { font-size: 1.5rem; }
h2 { display: inline; font-size: 1.15rem; }
summary { cursor: pointer; padding: .35rem 0; }
details.operation { border-top: 1px solid #8884; padding-left: 1rem; }
details:target { outline: 2px solid #2563eb; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .75rem; background: #8882; border-radius: .375rem; }
table { border-collapse: collapse; margin: .5rem 0; }
td { padding: .15rem 1rem .15rem 0; vertical-align: top; }
b { display: inline-block; min-width: 4rem; font-family: ui-monospace, monospace; }
.get { color: #2563eb; } .post { color: #16a34a; } .put, .patch { color: #d97706; } .delete { color: #dc2626; }
`;
