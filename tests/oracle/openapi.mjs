// Two judges of an OpenAPI document and of what its server says, asked on standard input:
// {document, answers: [{method, path, status, media_type, body}]}, where path is the document's own template.
// Answers a JSON array of complaints. Facts only; the verdict is in tests/it/control/openapi.rs.
//
// @seriousme/openapi-schema-validator holds the document against the schema of OpenAPI 3.1 itself; ajv (draft 2020-12, the
// dialect of 3.1) holds each answer against the schema that the document gives for its status and media type.

import { readFileSync } from 'node:fs';
import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

const { document, answers } = JSON.parse(readFileSync(0, 'utf8'));
const complaints = [];

const checked = await new Validator({ strict: false }).validate(structuredClone(document));
if (!checked.valid) complaints.push(`document: ${JSON.stringify(checked.errors)}`);

const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats(ajv);
// Numbers' widths (`int64`) are no formats of JSON Schema.
for (const width of ['int32', 'int64', 'double', 'float']) ajv.addFormat(width, true);
ajv.addSchema(document, 'document');
const escape = (word) => word.replaceAll('~', '~0').replaceAll('/', '~1');

for (const { method, path, status, media_type, body } of answers) {
  const name = `${method} ${path} ${status}`;
  const operation = document.paths[path]?.[method.toLowerCase()];
  const type = media_type.split(';')[0];
  if (!operation?.responses[status]?.content?.[type]) {
    complaints.push(`${name} ${type}: not in the document`);
    continue;
  }
  if (!type.endsWith('json')) continue;
  const pointer = ['paths', path, method.toLowerCase(), 'responses', `${status}`, 'content', type, 'schema'];
  const validate = ajv.compile({ $ref: `document#/${pointer.map((word) => encodeURIComponent(escape(word))).join('/')}` });
  if (!validate(JSON.parse(body))) complaints.push(`${name}: ${ajv.errorsText(validate.errors)} in ${body}`);
}

console.log(JSON.stringify(complaints));
