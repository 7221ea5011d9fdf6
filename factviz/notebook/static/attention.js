/**
 * Stands behind circuitsvis' own code in one module, so that `CircuitsVis` is that code's and
 * nobody else's. Of its components only those are used that write text as text: AttentionHeads and
 * AttentionPattern draw tokens on a canvas, AttentionPatterns would set them as innerHTML.
 */

/** It looks for the element to paint by an id, which is given and taken back in one go. */
const PLACE = "factviz-attention-place";

/** circuitsvis' colours are made for a light page; its large z-indices stay inside. */
const STYLE = {
  background: "#fff",
  color: "#222",
  colorScheme: "light",
  padding: "8px",
  overflow: "auto",
  position: "relative",
  isolation: "isolate",
};

/**
 * Little-endian numbers as lists [head][query][key], which is what circuitsvis takes.
 * @param {DataView} bytes
 * @param {number} heads
 * @param {number} length
 */
function nested(bytes, heads, length) {
  /** @template T @param {number} n @param {(index: number) => T} item */
  const list = (n, item) => Array.from({ length: n }, (_, i) => item(i));
  const cell = (/** @type {number} */ index) => bytes.getFloat32(4 * index, true);
  return list(heads, (head) =>
    list(length, (query) => list(length, (key) => cell((head * length + query) * length + key))),
  );
}

/** @param {HTMLElement} place @param {{get: (name: string) => any}} model */
function paint(place, model) {
  const [tokens, heads] = [model.get("tokens"), model.get("heads")];
  const attention = nested(model.get("pattern"), heads.length, tokens.length);
  place.id = PLACE;
  document.body.append(place);
  if (heads.length > 1) {
    const props = { attention, tokens, attentionHeadNames: heads };
    CircuitsVis.render(PLACE, CircuitsVis.AttentionHeads, props);
  } else {
    const props = { attention: attention[0], tokens, zoomed: true };
    CircuitsVis.render(PLACE, CircuitsVis.AttentionPattern, props);
  }
  place.removeAttribute("id");
}

export default {
  /** @param {{model: {get: (name: string) => any}, el: HTMLElement}} host */
  render({ model, el }) {
    const [caption, place] = [document.createElement("p"), document.createElement("div")];
    caption.textContent = model.get("caption");
    caption.dir = "auto";
    caption.style.margin = "0 0 8px";
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", model.get("caption"));
    Object.assign(el.style, STYLE);
    try {
      paint(place, model);
      el.append(caption, place);
    } catch (error) {
      place.remove();
      caption.setAttribute("role", "alert");
      caption.textContent = String(/** @type {Error} */ (error)?.message ?? error);
      el.append(caption);
    }
    return () => el.replaceChildren();
  },
};
