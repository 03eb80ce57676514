// Requests in all the shapes that two servers may read in two ways. Each is a name and bytes; `good` says that this server
// must take it, so that a list which refuses everything proves nothing.

const CRLF = '\r\n';
const BODY = '{"channel":"t:a","event":"k"}';
const LENGTH = BODY.length;
const CHUNK = `${LENGTH.toString(16)}${CRLF}${BODY}${CRLF}`;
const CHUNKS = `${CHUNK}0${CRLF}${CRLF}`;
const GET = `GET /health HTTP/1.1${CRLF}Host: x${CRLF}${CRLF}`;

const payloads = [];

function add(name, text, { good = false } = {}) {
  payloads.push({ name, bytes: Buffer.from(text, 'latin1'), good });
}

/** A publish with these lines of fields, and whatever follows. */
function post(fields, rest, version = '1.1') {
  const lines = [`POST /publish HTTP/${version}`, 'Host: x', 'Content-Type: application/json', ...fields];
  return lines.join(CRLF) + CRLF + CRLF + rest;
}

/** A request for the server's health with these lines of fields, `Host` not among them. */
function get(fields) {
  return ['GET /health HTTP/1.1', ...fields].join(CRLF) + CRLF + CRLF;
}

function lines(line) {
  return `${line}${CRLF}Host: x${CRLF}${CRLF}`;
}

// What is good.
add('get', GET, { good: true });
add('post by length', post([`Content-Length: ${LENGTH}`], BODY), { good: true });
add('post in chunks', post(['Transfer-Encoding: chunked'], CHUNKS), { good: true });
add('post in many chunks', post(['Transfer-Encoding: chunked'], [...BODY].map((c) => `1${CRLF}${c}${CRLF}`).join('') + `0${CRLF}${CRLF}`), { good: true });
add('head', lines('HEAD /health HTTP/1.1'), { good: true });
add('options', lines('OPTIONS /publish HTTP/1.1'), { good: true });
add('three in a row', GET.repeat(3), { good: true });
add('post, then get', post([`Content-Length: ${LENGTH}`], BODY) + GET, { good: true });
add('chunks, then get', post(['Transfer-Encoding: chunked'], CHUNKS) + GET, { good: true });
add('http/1.0', `GET /health HTTP/1.0${CRLF}${CRLF}`, { good: true });
add('expectation with the body at once', post([`Content-Length: ${LENGTH}`, 'Expect: 100-continue'], BODY), { good: true });

// Lengths.
for (const [name, value] of [
  ['empty', ''], ['plus', `+${LENGTH}`], ['minus', `-${LENGTH}`], ['minus nought', '-0'], ['hexadecimal', '0x1d'],
  ['octal', '0o35'], ['exponent', '2e1'], ['point', `${LENGTH}.0`], ['comma', `${LENGTH},${LENGTH}`],
  ['comma and space', `${LENGTH}, ${LENGTH}`], ['two in a list', `${LENGTH}, 1`], ['space inside', '2 9'],
  ['underscore', '2_9'], ['letter behind', `${LENGTH}a`], ['quoted', `"${LENGTH}"`], ['semicolon', `${LENGTH};x`],
  ['2^63', '9223372036854775808'], ['2^64', '18446744073709551616'], ['2^64 and it', '18446744073709551645'],
  ['40 digits', '1'.repeat(40)], ['words', 'all of it'], ['vertical tab', `\x0b${LENGTH}`], ['form feed', `${LENGTH}\x0c`],
  ['no-break space', `\xa0${LENGTH}`], ['NUL behind', `${LENGTH}\0`],
]) add(`length: ${name}`, post([`Content-Length: ${value}`], BODY));
add('length: zeros before', post([`Content-Length: 000${LENGTH}`], BODY));
add('length: twice the same', post([`Content-Length: ${LENGTH}`, `Content-Length: ${LENGTH}`], BODY));
add('length: twice, longer second', post(['Content-Length: 1', `Content-Length: ${LENGTH}`], BODY));
add('length: twice, shorter second', post([`Content-Length: ${LENGTH}`, 'Content-Length: 1'], BODY));
add('length: twice, one empty', post([`Content-Length: ${LENGTH}`, 'Content-Length:'], BODY));
add('length: space before the colon', post([`Content-Length : ${LENGTH}`], BODY));
add('length: tab before the colon', post([`Content-Length\t: ${LENGTH}`], BODY));
add('length: folded', post(['Content-Length:', ` ${LENGTH}`], BODY));
add('length: folded digits', post(['Content-Length: 2', ' 9'], BODY));
add('length: underscore in the name', post([`Content_Length: ${LENGTH}`], BODY));
add('length: of a get, with a request inside', get(['Host: x', `Content-Length: ${GET.length}`]) + GET);
add('length: nought, and a body', post(['Content-Length: 0'], BODY));

// Codings.
const te = (value, rest = CHUNKS, fields = []) => post([`Transfer-Encoding: ${value}`, ...fields], rest);
for (const [name, value] of [
  ['capitals', 'CHUNKED'], ['before it identity', 'identity, chunked'], ['identity', 'identity'], ['gzip', 'gzip'],
  ['gzip, chunked', 'gzip, chunked'], ['chunked, gzip', 'chunked, gzip'], ['chunked twice', 'chunked, chunked'],
  ['chunked, identity', 'chunked, identity'], ['x before', 'xchunked'], ['x behind', 'chunkedx'], ['quoted', '"chunked"'],
  ['single quotes', "'chunked'"], ['parameter', 'chunked;q=1'], ['empty parameter', 'chunked;'], ['empty', ''], ['comma before', ', chunked'],
  ['comma behind', 'chunked,'], ['vertical tab before', '\x0bchunked'], ['form feed behind', 'chunked\x0c'], ['NUL behind', 'chunked\0'],
  ['tab before', '\tchunked'], ['space inside', 'chun ked'], ['soft hyphen inside', 'chun\xadked'], ['another word', 'cow'], ['no-break space', '\xa0chunked'],
]) add(`coding: ${name}`, te(value));
add('coding: and a length', te('chunked', CHUNKS, [`Content-Length: ${LENGTH}`]));
add('coding: and a length of nought', te('chunked', CHUNKS, ['Content-Length: 0']));
add('coding: a length before it', post([`Content-Length: ${LENGTH}`, 'Transfer-Encoding: chunked'], CHUNKS));
add('coding: two fields', post(['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], CHUNKS));
add('coding: two fields, second unknown', post(['Transfer-Encoding: chunked', 'Transfer-Encoding: cow'], CHUNKS));
add('coding: two fields, first identity', post(['Transfer-Encoding: identity', 'Transfer-Encoding: chunked'], CHUNKS));
add('coding: space before the colon', post(['Transfer-Encoding : chunked'], CHUNKS));
add('coding: folded', post(['Transfer-Encoding:', ' chunked'], CHUNKS));
add('coding: folded with tab', post(['Transfer-Encoding:', '\tchunked'], CHUNKS));
add('coding: line feed alone before it', post(['A: 1\nTransfer-Encoding: chunked'], CHUNKS));
add('coding: carriage return alone before it', post(['A: 1\rTransfer-Encoding: chunked'], CHUNKS));
add('coding: underscore in the name', post(['Transfer_Encoding: chunked', `Content-Length: ${LENGTH}`], BODY));
add('coding: of http/1.0', post(['Transfer-Encoding: chunked'], CHUNKS, '1.0'));
add('coding: of http/1.0 that is kept', post(['Connection: keep-alive', 'Transfer-Encoding: chunked'], CHUNKS, '1.0') + GET);
add('coding: named as of this hop', te('chunked', CHUNKS, ['Connection: Transfer-Encoding']));
add('coding: of a get, with a request inside', get(['Host: x', 'Transfer-Encoding: chunked']) + `0${CRLF}${CRLF}${GET}`);

// Chunks.
const chunks = (name, rest) => add(`chunk: ${name}`, te('chunked', rest));
const hex = LENGTH.toString(16);
const sized = (size) => `${size}${CRLF}${BODY}${CRLF}0${CRLF}${CRLF}`;
for (const [name, size] of [
  ['plus', `+${hex}`], ['minus', `-${hex}`], ['0x', `0x${hex}`], ['capitals', hex.toUpperCase()], ['zeros before', `000${hex}`],
  ['space before', ` ${hex}`], ['space behind', `${hex} `], ['tab behind', `${hex}\t`], ['extension', `${hex};a=b`],
  ['quoted extension', `${hex};a="b"`], ['bare extension', `${hex};`], ['line feed in an extension', `${hex};a\nb`],
  ['carriage return in an extension', `${hex};a\rb`], ['space before an extension', `${hex} ;a`], ['h', `${hex}h`], ['letter', 'g'], ['empty', ''],
  ['2^64', '10000000000000000'], ['2^64 and it', `100000000000000${hex}`], ['40 digits', 'f'.repeat(40)], ['decimal', String(LENGTH)],
  ['comma', `${hex},`], ['NUL behind', `${hex}\0`], ['underscore', '1_d'], ['dot', `${hex}.`],
]) chunks(`size: ${name}`, sized(size));
chunks('size ended by a line feed', `${hex}\n${BODY}${CRLF}0${CRLF}${CRLF}`);
chunks('size ended by a carriage return', `${hex}\r${BODY}${CRLF}0${CRLF}${CRLF}`);
chunks('data ended by a line feed', `${hex}${CRLF}${BODY}\n0${CRLF}${CRLF}`);
chunks('data ended by nothing', `${hex}${CRLF}${BODY}0${CRLF}${CRLF}`);
chunks('data ended by two other bytes', `${hex}${CRLF}${BODY}XX0${CRLF}${CRLF}`);
chunks('data ended by two carriage returns', `${hex}${CRLF}${BODY}\r\r\n0${CRLF}${CRLF}`);
chunks('data longer than said', `1${CRLF}${BODY}${CRLF}0${CRLF}${CRLF}`);
chunks('all with line feeds', `${hex}\n${BODY}\n0\n\n`);
chunks('last ended by a line feed', `${CHUNK}0\n${CRLF}`);
chunks('end ended by a line feed', `${CHUNK}0${CRLF}\n`);
chunks('last of many noughts', `${CHUNK}0000${CRLF}${CRLF}`);
chunks('last with an extension', `${CHUNK}0;a=b${CRLF}${CRLF}`);
chunks('trailer', `${CHUNK}0${CRLF}A: b${CRLF}${CRLF}`);
chunks('trailer that frames', `${CHUNK}0${CRLF}Content-Length: 5${CRLF}${CRLF}`);
chunks('trailer that is none', `${CHUNK}0${CRLF}nonsense${CRLF}${CRLF}`);
chunks('trailer with a space before the colon', `${CHUNK}0${CRLF}A : b${CRLF}${CRLF}`);
chunks('empty line before the first', `${CRLF}${CHUNKS}`);
chunks('a request where a chunk is due', `${CHUNK}${GET}`);

// Fields.
const field = (name, ...fields) => add(`field: ${name}`, get(['Host: x', ...fields]));
field('space before the colon', 'A : 1');
field('tab before the colon', 'A\t: 1');
field('folded', 'A: 1', ' 2');
field('folded with tab', 'A: 1', '\t2');
field('folded, nothing on the line', 'A: 1', ' ');
field('no colon', 'A');
field('no name', ': 1');
field('space in the name', 'A B: 1');
field('parentheses in the name', 'A(b): 1');
field('NUL in the name', 'A\0: 1');
field('NUL in the value', 'A: \0');
field('bell in the value', 'A: \x07');
field('delete in the value', 'A: \x7f');
field('escape in the value', 'A: \x1b[0m');
field('latin-1 in the value', 'A: \xfc');
field('latin-1 in the name', '\xc4: 1');
field('line feed alone', 'A: 1\nB: 2');
field('carriage return alone', 'A: 1\rB: 2');
field('carriage return before the end', 'A: 1\r');
field('empty value', 'A:');
field('tab in the value', 'A: 1\t2');
field('colon in the value', 'A: b:c');
add('field: space before the first', get([' A: 1', 'Host: x']));
add('field: folded first', get([' Host: x']));
add('field: line feeds for all', 'GET /health HTTP/1.1\nHost: x\n\n');
add('field: the end a line feed', `GET /health HTTP/1.1${CRLF}Host: x${CRLF}\n`);

// Hosts.
for (const [name, fields] of [
  ['none', []], ['two', ['Host: x', 'Host: y']], ['twice the same', ['Host: x', 'Host: x']], ['empty', ['Host:']], ['space inside', ['Host: a b']],
  ['path inside', ['Host: x/y']], ['user inside', ['Host: u@x']], ['port too large', ['Host: x:99999']], ['port of letters', ['Host: x:http']],
  ['minus port', ['Host: x:-1']], ['comma', ['Host: x, y']], ['NUL', ['Host: x\0']], ['two colons', ['Host: x:1:2']], ['open bracket', ['Host: [::1']],
  ['underscore', ['Host: a_b']], ['space before the colon', ['Host : x']], ['folded', ['Host:', ' x']],
]) add(`host: ${name}`, get(fields));

// Request lines.
for (const [name, line] of [
  ['two spaces', 'GET  /health HTTP/1.1'], ['tab', 'GET\t/health HTTP/1.1'], ['space before', ' GET /health HTTP/1.1'],
  ['space behind', 'GET /health HTTP/1.1 '], ['space in the target', 'GET /he alth HTTP/1.1'], ['no version', 'GET /health'],
  ['http/0.9', 'GET /health HTTP/0.9'], ['http/1.2', 'GET /health HTTP/1.2'], ['http/2.0', 'GET /health HTTP/2.0'], ['http/1', 'GET /health HTTP/1'],
  ['http/1.10', 'GET /health HTTP/1.10'], ['http/1.1.1', 'GET /health HTTP/1.1.1'], ['http/01.1', 'GET /health HTTP/01.1'],
  ['http/1,1', 'GET /health HTTP/1,1'], ['small http', 'GET /health http/1.1'], ['another protocol', 'GET /health ICE/1.1'],
  ['small method', 'get /health HTTP/1.1'], ['odd method', 'BREW /health HTTP/1.1'], ['method with an at sign', 'G@T /health HTTP/1.1'],
  ['method of NUL', 'G\0T /health HTTP/1.1'], ['empty method', ' /health HTTP/1.1'], ['long method', `${'A'.repeat(300)} /health HTTP/1.1`],
  ['absolute', 'GET http://x/health HTTP/1.1'], ['absolute, other host', 'GET http://y/health HTTP/1.1'], ['relative', 'GET health HTTP/1.1'],
  ['asterisk', 'GET * HTTP/1.1'], ['fragment', 'GET /health#a HTTP/1.1'], ['NUL in the target', 'GET /health\0 HTTP/1.1'],
  ['bell in the target', 'GET /health?\x07 HTTP/1.1'], ['delete in the target', 'GET /health?\x7f HTTP/1.1'], ['latin-1 in the target', 'GET /health?\xfc HTTP/1.1'],
  ['bad escape in the query', 'GET /health?a=%zz HTTP/1.1'], ['bad escape in the path', 'GET /health%zz HTTP/1.1'],
  ['half an escape', 'GET /health?% HTTP/1.1'], ['NUL escaped in the path', 'GET /health%00 HTTP/1.1'],
  ['line end escaped', 'GET /health?a=%0d%0aB:c HTTP/1.1'], ['dots', 'GET /../health HTTP/1.1'], ['dots inside', 'GET /a/../health HTTP/1.1'],
  ['escaped dots', 'GET /%2e%2e/health HTTP/1.1'], ['two slashes', 'GET //health HTTP/1.1'], ['backslash', 'GET \\health HTTP/1.1'],
  ['quotes in the query', 'GET /health?"a" HTTP/1.1'], ['braces in the query', 'GET /health?{a} HTTP/1.1'], ['long target', `GET /health?${'a'.repeat(70_000)} HTTP/1.1`],
  ['connect', 'CONNECT x:80 HTTP/1.1'], ['trace', 'TRACE /health HTTP/1.1'], ['put', 'PUT /health HTTP/1.1'], ['asterisk for options', 'OPTIONS * HTTP/1.1'],
]) add(`line: ${name}`, lines(line));
add('line: carriage return alone', `GET /health HTTP/1.1\rHost: x${CRLF}${CRLF}`);
add('line: an empty line before', `${CRLF}${GET}`);
add('line: a line feed before', `\n${GET}`);
add('line: two empty lines before', `${CRLF}${CRLF}${GET}`);

// Other protocols.
add('protocol: the preface of http/2', `PRI * HTTP/2.0${CRLF}${CRLF}SM${CRLF}${CRLF}\0\0\0\x04\0\0\0\0\0`);
add('protocol: upgrade to http/2', get(['Host: x', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA']));
add('protocol: a tls greeting', '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03');
add('protocol: noise', '\x00\xff\x00\xff');
add('protocol: the address line of a proxy', `PROXY TCP4 127.0.0.1 127.0.0.1 1 2${CRLF}${GET}`);

// More than one request.
add('row: behind an ambiguous one', post([`Content-Length: ${LENGTH}`, 'Transfer-Encoding: chunked'], `0${CRLF}${CRLF}`) + GET);
add('row: behind one without a length', post([], '') + GET);
add('row: behind the wish to close', get(['Host: x', 'Connection: close']) + GET);
add('row: behind an upgrade that is not taken', get(['Host: x', 'Connection: upgrade', 'Upgrade: cow']) + GET);
add('row: a line feed between', `${GET}\n${GET}`);
add('row: an empty line between', GET + CRLF + GET, { good: true });
add('row: one byte too many in the body', post([`Content-Length: ${LENGTH - 1}`], BODY) + GET);
add('row: a body that is half a request', get(['Host: x', 'Content-Length: 5']) + GET);
add('row: an unknown expectation between', GET + post([`Content-Length: ${LENGTH}`, 'Expect: cow'], BODY) + GET);
add('row: a bad one in the middle', GET + get(['Host: x', 'Host: y']) + GET);

export { payloads };
