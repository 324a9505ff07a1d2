// What the page asks of the gateway, as whoever has signed in in this browser.
//
// The sign-in's cookie is good below /oauth only. There it is traded for a token that lives for minutes, in this
// module's memory and nowhere else, and for tickets, each of which opens one terminal.

// The gateway's address: the page is at its /terminal/, whatever is in front of that.
const root = new URL("..", document.baseURI);

export const user = { name: "" };

// A refusal. `status` is HTTP's, 0 if nobody has answered.
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// The address of a path of the gateway's, such as "api/v1/nodes".
export function address(path) {
  return new URL(path, root);
}

// A path as the gateway itself sees it, for a ticket.
export function seen(path) {
  return `/${path}`;
}

let token = null;
let trading = null;

// The token, a new one if it is about to end.
async function bearer() {
  if (token === null || token.until < performance.now()) {
    trading ??= trade().finally(() => {
      trading = null;
    });
    await trading;
  }
  return token.value;
}

async function trade() {
  const found = await post("oauth/terminal_token", {});
  user.name = found.user;
  token = { value: found.access_token, until: performance.now() + (found.expires_in - 60) * 1000 };
}

// Signs in, as it were: raises a Problem with status 401 if nobody has.
export async function whoAmI() {
  await bearer();
  return user.name;
}

// A ticket for a terminal.
export async function ticket(path) {
  return (await post("oauth/terminal_ticket", { path: seen(path) })).ticket;
}

async function post(path, value) {
  const answer = await send(address(path), {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(value),
    credentials: "same-origin",
  });
  return answer.json();
}

// Ask with the token. The answer, or a Problem.
export async function ask(path, options = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const headers = { Accept: "application/json", ...options.headers, Authorization: `Bearer ${await bearer()}` };
    try {
      return await send(address(path), { ...options, headers, credentials: "omit" });
    } catch (problem) {
      // It may have been revoked since: by another page of the same user, where each may have one session only.
      if (problem.status !== 401 || attempt === 2) {
        throw problem;
      }
      token = null;
    }
  }
}

// The token, for requests that fetch() cannot make.
export async function authorization() {
  return `Bearer ${await bearer()}`;
}

async function send(url, options) {
  let answer;
  try {
    answer = await fetch(url, { cache: "no-store", redirect: "error", ...options });
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new Problem(0, error.message);
  }
  if (!answer.ok) {
    throw new Problem(answer.status, messageOf(answer.status, await answer.text()));
  }
  return answer;
}

// What an answer that is no success says, for a person.
export function messageOf(status, text) {
  try {
    const found = JSON.parse(text);
    if (typeof found.message === "string" && found.message) {
      return found.message;
    }
  } catch {
    // No Status.
  }
  return text && text.length < 300 && !text.includes("<") ? text.trim() : `HTTP ${status}`;
}

// Sign in, and come back to where this page is.
export function signIn() {
  location.assign(address(`oauth/terminal${location.search}`));
}
