// Lets xterm.js keep to a policy that allows no style in a page but those of files (style-src 'self').
//
// xterm.js writes rules into <style> elements of its own and colours into style attributes, both of which the policy
// forbids. Style sheets that a script constructs, and element.style, are what it allows for the same: no HTML that
// somebody smuggles in can make them. Called once, before a terminal is made.

export function keepToPolicy() {
  const create = document.createElement.bind(document);
  document.createElement = (name, options) =>
    String(name).toLowerCase() === "style" ? constructed(create("template")) : create(name, options);
  const set = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function setAttribute(name, value) {
    if (name === "style" && this instanceof HTMLElement) {
      this.style.cssText = value;
    } else {
      set.call(this, name, value);
    }
  };
}

// An element that stands for a <style>: what is written into it goes into a style sheet that is constructed.
function constructed(element) {
  const sheet = new CSSStyleSheet();
  let text = "";
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set: (value) => {
      text = String(value);
      sheet.replaceSync(text);
    },
  });
  const remove = element.remove.bind(element);
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet);
    remove();
  };
  return element;
}
