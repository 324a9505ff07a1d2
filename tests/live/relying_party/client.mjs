// openid-client, which others have written and had certified, as a client of the gateway. It says a JSON object a line,
// `{"visit": address}` where a person has to go on in a browser, and reads from standard input where that has led to.
import * as client from 'openid-client'
import { createInterface } from 'node:readline'

const [issuer, id, secret, callback, bye] = process.argv.slice(2)
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const say = (what) => console.log(JSON.stringify(what))
const visited = async (address) => {
  say({ visit: address.toString() })
  return new URL((await input.next()).value)
}
const refused = async (promise) => {
  try {
    await promise
  } catch (error) {
    return error.error ?? error.code ?? error.message
  }
  throw new Error('this should have been refused')
}

const ways = secret
  ? [client.ClientSecretBasic(secret), client.ClientSecretPost(secret)]
  : [client.None()]
for (const way of ways) {
  const config = await client.discovery(new URL(issuer), id, undefined, way, { execute: [client.allowInsecureRequests] })
  const metadata = config.serverMetadata()
  say({ step: 'discovery', pkce: metadata.supportsPKCE(), algorithm: metadata.id_token_signing_alg_values_supported })

  const verifier = client.randomPKCECodeVerifier()
  const state = client.randomState()
  const nonce = client.randomNonce()
  const address = client.buildAuthorizationUrl(config, {
    redirect_uri: callback,
    scope: 'openid email profile',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
  })
  const back = await visited(address)
  const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true, maxAge: 600 }
  const tokens = await client.authorizationCodeGrant(config, back, checks)
  const claims = tokens.claims()
  say({ step: 'code', sub: claims.sub, name: claims.name, email: claims.email, at_hash: claims.at_hash !== undefined })

  say({ step: 'userinfo', ...(await client.fetchUserInfo(config, tokens.access_token, claims.sub)) })
  const renewed = await client.refreshTokenGrant(config, tokens.refresh_token)
  say({ step: 'refresh', changed: renewed.refresh_token !== tokens.refresh_token })
  if (secret) {
    const said = await client.tokenIntrospection(config, renewed.access_token)
    say({ step: 'introspection', active: said.active, sub: said.sub, scope: said.scope })
  }

  await client.tokenRevocation(config, renewed.refresh_token)
  say({
    step: 'revocation',
    refresh: await refused(client.refreshTokenGrant(config, renewed.refresh_token)),
    userinfo: (await fetch(metadata.userinfo_endpoint, { headers: { Authorization: `Bearer ${renewed.access_token}` } })).status,
  })
  say({ step: 'replay', error: await refused(client.authorizationCodeGrant(config, back, checks)) })

  const leave = client.buildEndSessionUrl(config, { post_logout_redirect_uri: bye, id_token_hint: tokens.id_token, state })
  const gone = await visited(leave)
  say({ step: 'logout', at: gone.origin + gone.pathname, state: gone.searchParams.get('state') === state })

  const device = await client.initiateDeviceAuthorization(config, { scope: 'openid' })
  await visited(new URL(device.verification_uri_complete))
  const let_in = await client.pollDeviceAuthorizationGrant(config, device)
  say({ step: 'device', sub: let_in.claims().sub })
}
say({ step: 'done' })
process.exit(0)
