/** What is bundled: the module that widgets load; in a page it mounts the figures that wait for it. */
import { mount } from "./index.js";

export { default } from "./index.js";

const selector = '.factviz[data-bundle="__FACTVIZ_BUNDLE__"]:not([data-live])';
for (const root of document.querySelectorAll(selector)) mount(/** @type {HTMLElement} */ (root));
