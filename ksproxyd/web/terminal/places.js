// Where a terminal may be: in the address of the page, in the form, and the lists that help to fill it in.

import { ask, user } from "./api.js";
import { say } from "./words.js";

const TERMINALS = "kapis/terminal.kubesphere.io/v1alpha2";

// Names that lists hold; who has more types the name.
const MOST = 1000;

// A place: { kind: "pod" | "kubectl" | "node", cluster, namespace, pod, container, shell, node }. `cluster` is empty for
// the gateway's own, or names a member of it.

// The cluster that the page's address names.
export function clusterOf(search) {
  return new URLSearchParams(search).get("cluster") ?? "";
}

// The place that the page's address names; null if it names none.
export function placeOf(search) {
  const given = new URLSearchParams(search);
  const node = given.get("node");
  const namespace = given.get("namespace");
  const pod = given.get("pod");
  const cluster = clusterOf(search);
  if (node) {
    return { kind: "node", cluster, node };
  }
  if (given.has("kubectl")) {
    return { kind: "kubectl", cluster };
  }
  if (namespace && pod) {
    const [container, shell] = [given.get("container") ?? "", given.get("shell") ?? ""];
    return { kind: "pod", cluster, namespace, pod, container, shell };
  }
  return null;
}

// The page's query for a place, with what else was in it.
export function searchOf(place, search) {
  const kept = new URLSearchParams(search).get("lang");
  const query = new URLSearchParams();
  const cluster = place ? place.cluster : clusterOf(search);
  if (cluster) {
    query.set("cluster", cluster);
  }
  if (place?.kind === "node") {
    query.set("node", place.node);
  } else if (place?.kind === "kubectl") {
    query.set("kubectl", "");
  } else if (place) {
    query.set("namespace", place.namespace);
    query.set("pod", place.pod);
    if (place.container) {
      query.set("container", place.container);
    }
    if (place.shell) {
      query.set("shell", place.shell);
    }
  }
  if (kept) {
    query.set("lang", kept);
  }
  const text = query.toString();
  return text ? `?${text}` : "";
}

// `path` of a cluster.
function within(cluster, path) {
  return cluster ? `clusters/${encodeURIComponent(cluster)}/${path}` : path;
}

// The path of a place's terminal.
export function pathOf(place) {
  if (place.kind === "node") {
    return within(place.cluster, `${TERMINALS}/nodes/${encodeURIComponent(place.node)}/exec`);
  }
  if (place.kind === "kubectl") {
    return within(place.cluster, `${TERMINALS}/users/${encodeURIComponent(user.name)}/kubectl`);
  }
  const query = new URLSearchParams();
  if (place.container) {
    query.set("container", place.container);
  }
  if (place.shell) {
    query.set("shell", place.shell);
  }
  const text = query.toString();
  return `${podPath(place)}/exec${text ? `?${text}` : ""}`;
}

// The path of files in a place's container.
export function filePath(place, more) {
  const query = new URLSearchParams(more);
  if (place.container) {
    query.set("container", place.container);
  }
  return `${podPath(place)}/file?${query}`;
}

function podPath(place) {
  const pod = `${encodeURIComponent(place.namespace)}/pods/${encodeURIComponent(place.pod)}`;
  return within(place.cluster, `${TERMINALS}/namespaces/${pod}`);
}

export function nameOf(place) {
  const cluster = place.cluster ? `${place.cluster}: ` : "";
  if (place.kind === "node") {
    return cluster + place.node;
  }
  if (place.kind === "kubectl") {
    return `${cluster}kubectl`;
  }
  return `${cluster}${place.namespace}/${place.pod}${place.container ? ` ${place.container}` : ""}`;
}

// The form. `submitted(place)` hears of what is to be opened.
export class Form {
  constructor(element, submitted) {
    this.element = element;
    this.fields = element.elements;
    this.help = element.querySelector("#list-problem");
    this.pods = new Map();
    this.listed = new Map();
    element.addEventListener("submit", (event) => {
      event.preventDefault();
      submitted(this.place);
    });
    element.addEventListener("change", (event) => this.#changed(event.target.name));
    // Lists are asked for when somebody is about to choose from them.
    element.addEventListener("focusin", (event) => this.#needed(event.target.name));
    this.#show();
  }

  // Fill it in.
  set place(place) {
    if (place) {
      this.fields.kind.value = place.kind;
      this.fields.namespace.value = place.namespace ?? "";
      this.fields.pod.value = place.pod ?? "";
      this.fields.node.value = place.node ?? "";
      this.fields.shell.value = place.shell ?? "";
      this.#containers(place.container ? [place.container] : []);
      this.fields.container.value = place.container ?? "";
    }
    this.#show();
  }

  get place() {
    const { kind, namespace, pod, container, shell, node } = this.fields;
    const cluster = clusterOf(location.search);
    if (kind.value === "node") {
      return { kind: "node", cluster, node: node.value.trim() };
    }
    if (kind.value === "kubectl") {
      return { kind: "kubectl", cluster };
    }
    return {
      kind: "pod",
      cluster,
      namespace: namespace.value.trim(),
      pod: pod.value.trim(),
      container: container.value,
      shell: shell.value,
    };
  }

  #changed(name) {
    if (name === "kind") {
      this.#show();
    } else if (name === "namespace") {
      this.fields.pod.value = "";
      this.#containers([]);
      this.#list("pod");
    } else if (name === "pod") {
      this.#containers(this.pods.get(this.fields.pod.value.trim()) ?? []);
    }
  }

  #needed(name) {
    if (name === "namespace" || name === "pod" || name === "node") {
      this.#list(name);
    }
  }

  // Only the fields of the chosen kind are there, and are needed.
  #show() {
    for (const part of this.element.querySelectorAll("fieldset[data-kind]")) {
      const chosen = part.dataset.kind === this.fields.kind.value;
      part.hidden = !chosen;
      part.disabled = !chosen;
    }
  }

  async #list(name) {
    const namespace = this.fields.namespace.value.trim();
    if (name === "pod" && !namespace) {
      return;
    }
    const key = `${clusterOf(location.search)} ${name === "pod" ? namespace : ""}`;
    if (this.listed.get(name) === key) {
      return;
    }
    this.listed.set(name, key);
    this.help.textContent = "";
    try {
      const names = await this.#names(name, namespace);
      if (this.listed.get(name) === key) {
        this.#offer(`${name}-list`, names);
      }
    } catch (problem) {
      // It is asked for again when the field is come to again.
      this.listed.delete(name);
      this.#offer(`${name}-list`, []);
      this.help.textContent = say("list_failed", { message: problem.message });
    }
  }

  async #names(name, namespace) {
    if (name === "namespace") {
      const sorted = `limit=${MOST}&sortBy=name&ascending=true`;
      return namesOf(await this.#items(`kapis/tenant.kubesphere.io/v1beta1/namespaces?${sorted}`));
    }
    if (name === "node") {
      return namesOf(await this.#items(`api/v1/nodes?limit=${MOST}`));
    }
    const pods = await this.#items(`api/v1/namespaces/${encodeURIComponent(namespace)}/pods?limit=${MOST}`);
    this.pods = new Map(pods.map((pod) => [pod.metadata.name, containersOf(pod)]));
    this.#containers(this.pods.get(this.fields.pod.value.trim()) ?? []);
    return namesOf(pods.filter((pod) => pod.status?.phase === "Running" || !pod.status?.phase));
  }

  async #items(path) {
    const found = await (await ask(within(clusterOf(location.search), path))).json();
    return found.items ?? [];
  }

  #offer(id, names) {
    const list = this.element.querySelector(`#${id}`);
    list.replaceChildren(...names.map((name) => new Option(name, name)));
  }

  #containers(names) {
    const kept = this.fields.container.value;
    const options = [new Option(say("container_default"), ""), ...names.map((name) => new Option(name, name))];
    this.fields.container.replaceChildren(...options);
    this.fields.container.value = names.includes(kept) ? kept : "";
  }
}

function namesOf(items) {
  return items.map((item) => item.metadata.name);
}

function containersOf(pod) {
  const { containers = [], ephemeralContainers = [] } = pod.spec ?? {};
  return [...containers, ...ephemeralContainers].map((container) => container.name);
}
