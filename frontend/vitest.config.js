import { readFileSync } from "node:fs";

/** Style sheets are text here as they are in the bundle. */
const cssAsText = {
  name: "css-as-text",
  enforce: /** @type {const} */ ("pre"),
  /** @param {string} id */
  load(id) {
    if (!id.endsWith(".css")) return null;
    return `export default ${JSON.stringify(readFileSync(id, "utf8"))}`;
  },
};

export default {
  plugins: [cssAsText],
  test: { environment: "happy-dom", include: ["tests/**/*.test.js"] },
};
