/** The choice of the memory policy for all videos of a project. */

import * as api from "../lib/api.js";
import { h } from "../lib/dom.js";
import { complain } from "../lib/toast.js";

/** @import * as T from "../lib/types.js" */

/** @type {Record<string, string>} */
const WORDS = {
    recency: "the newest frames",
    gated: "frames that show the object",
    samurai: "where it was moving",
    dam4sam: "look-alikes too",
};

/**
 * @param {T.About} about
 * @param {T.Project} project
 */
export function policyChoice(about, project) {
    const options = about.policies.map((name) =>
        h(
            "option",
            { value: name, selected: name === project.policy },
            name in WORDS ? `${name}: ${WORDS[name]}` : name,
        ),
    );
    const choice = h("select", {}, ...options);
    choice.addEventListener("change", async () => {
        try {
            project = await api.changeProject(project.id, { policy: choice.value });
        } catch (error) {
            complain(error);
        }
        choice.value = project.policy;
    });
    const title = "The frames that the model remembers of an object. It cannot be changed after the first tracking.";
    return h("label", { class: "policy", title }, "Memory", choice);
}
