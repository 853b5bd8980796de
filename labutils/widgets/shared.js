/* What every widget's module builds its elements with; page.module puts it before the module's own text. */

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element; `text` is set as text, everything else as an attribute (true: without value; null: left out). */
function make(tag, attributes = {}, ...children) {
  return put(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return put(document.createElementNS(SVG, tag), attributes, children);
}

function put(element, attributes, children = []) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (value === null || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const clip = (value, low, high) => Math.min(Math.max(value, low), high);
const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
