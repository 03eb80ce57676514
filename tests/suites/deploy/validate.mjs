// The descriptions, looked at by validators of others.

import { readFile } from 'node:fs/promises';
import { Parser } from '@asyncapi/parser';
import { Validator } from '@seriousme/openapi-schema-validator';

const docs = new URL('../../../docs/', import.meta.url);
const faults = [];

for (const name of ['openapi.yaml', 'openapi-operators.yaml']) {
  const validator = new Validator();
  const { valid, errors } = await validator.validate(await readFile(new URL(name, docs), 'utf8'));
  if (!valid) faults.push(`${name}: ${JSON.stringify(errors, null, 2)}`);
  else console.log(`${name}: OpenAPI ${validator.version}, valid`);
}

const { document, diagnostics } = await new Parser().parse(await readFile(new URL('asyncapi.yaml', docs), 'utf8'));
// Hints, such as that there is a later version of the standard, have a higher number.
const SEVERITY_WARNING = 1;
const told = diagnostics.filter(({ severity }) => severity <= SEVERITY_WARNING);
if (!document || told.length !== 0) faults.push(`asyncapi.yaml: ${JSON.stringify(told, null, 2)}`);
else console.log(`asyncapi.yaml: AsyncAPI ${document.version()}, valid`);

if (faults.length !== 0) {
  console.error(faults.join('\n'));
  process.exitCode = 1;
}
