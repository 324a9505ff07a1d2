// An OpenID provider for test_oidc_provider.py: node provider.mjs PORT CERTIFICATE KEY REDIRECT_URI
//
// Whoever signs in is who they say. POST /control?clock=SECONDS moves its clock, POST /control?keys=NUMBER makes it sign
// with the key of that number, and publish that one and the one before.

import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';

import { Provider } from 'oidc-provider';

const [port, certificate, key, redirectUri] = process.argv.slice(2);
const issuer = `https://localhost:${port}`;

const now = Date.now;
let ahead = 0;
Date.now = () => now() + ahead * 1000;

const made = new Map();
function signingKey(number) {
  if (!made.has(number)) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    made.set(number, { ...privateKey.export({ format: 'jwk' }), kid: `key-${number}`, use: 'sig', alg: 'RS256' });
  }
  return made.get(number);
}

function handler(number) {
  const provider = new Provider(issuer, {
    clients: [{ client_id: 'ksproxyd', client_secret: 'the secret/of ksproxyd', redirect_uris: [redirectUri] }],
    jwks: { keys: [signingKey(number), ...(number ? [signingKey(number - 1)] : [])] },
    cookies: { keys: ['some key'] },
    claims: { openid: ['sub'], profile: ['preferred_username', 'name'], email: ['email', 'email_verified'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({
        sub: id, preferred_username: id.slice(2), name: `Person ${id}`, email: `${id}@corp.test`, email_verified: true,
      }),
    }),
    pkce: { required: () => true },
    ttl: { IdToken: 60 },
  });
  return provider.callback();
}

let handle = handler(0);
createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (request, response) => {
  const url = new URL(request.url, issuer);
  if (url.pathname !== '/control') {
    handle(request, response);
    return;
  }
  if (url.searchParams.has('clock')) ahead = Number(url.searchParams.get('clock'));
  if (url.searchParams.has('keys')) handle = handler(Number(url.searchParams.get('keys')));
  response.end('done');
}).listen(Number(port), '127.0.0.1', () => console.log('listening'));
