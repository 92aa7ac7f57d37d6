// What the page uses of Lit: templates that escape by default. No custom elements.
export {html, nothing, render} from "lit";
export {guard} from "lit/directives/guard.js";
export {repeat} from "lit/directives/repeat.js";
