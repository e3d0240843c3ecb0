/** The choice of a project's model, with its speed on this machine. */

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { complain } from "../lib/toast.js";

/** @import * as T from "../lib/types.js" */

/**
 * @param {T.About} about
 * @param {T.Project} project
 */
export function modelChoice(about, project) {
    const choice = h("select", { "aria-label": "Model" }, h("option", { value: project.model ?? about.model }, project.model ?? about.model));
    const cost = h("span", { class: "model-cost", role: "status" });
    const measure = h("button", { type: "button", class: "quiet" }, "Measure");
    /** @type {T.Model[]} */
    let models = [];
    const show = () => {
        const model = models.find((entry) => entry.name === choice.value);
        fill(cost, model ? describe(model) : "");
        cost.title = model?.note ?? "";
        measure.hidden = !model || model.milliseconds !== null;
    };
    measure.addEventListener("click", async () => {
        const name = choice.value;
        measure.disabled = true;
        fill(cost, "Measuring; this takes a few seconds");
        try {
            const measured = await api.measureModel(name);
            models = models.map((entry) => (entry.name === name ? measured : entry));
        } catch (error) {
            complain(error);
        }
        measure.disabled = false;
        show();
    });
    choice.addEventListener("change", async () => {
        try {
            project = await api.changeProject(project.id, { model: choice.value });
            window.dispatchEvent(new HashChangeEvent("hashchange")); // the top bar shows the model's name
        } catch (error) {
            complain(error);
        }
        choice.value = project.model ?? about.model;
        show();
    });
    const load = async () => {
        ({ models } = await api.models());
        const current = project.model ?? about.model;
        fill(choice, ...models.map(({ name }) => h("option", { value: name, selected: name === current }, name)));
        show();
    };
    load().catch(complain);
    const title = "The model that segments and tracks. It cannot be changed after the first prompt.";
    return h("div", { class: "policy", title }, h("label", { class: "policy" }, "Model", choice), cost, measure);
}

/** @param {T.Model} model */
function describe({ parameters, milliseconds }) {
    const size = parameters === null ? "" : `${(parameters / 1e6).toFixed(1)} M parameters`;
    const speed = milliseconds && `${Math.round(milliseconds.click)} ms per click, ${Math.round(milliseconds.frame)} ms per frame`;
    return [size, speed].filter(Boolean).join(" · ");
}
