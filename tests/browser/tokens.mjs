// Tokens that a server takes when it is given the same secret.

import { createHmac } from 'node:crypto';

/** A token for `user`, good for an hour, that grants these. */
export function mint(secret, user, grants) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { sub: user, exp: Math.floor(Date.now() / 1000) + 3600, fanfare: grants };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}
