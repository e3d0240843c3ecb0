/** The server's REST calls, one function each. docs/api.md says what they do. */

/** @import * as T from "./types.js" */

/** A name for this tab, so that it knows its own changes among the events. */
export const CLIENT = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) =>
    (byte % 36).toString(36),
).join("");

/** An error response of the server, with a message for the user. */
export class ApiError extends Error {
    /**
     * @param {number} status
     * @param {string} kind
     * @param {string} message
     */
    constructor(status, kind, message) {
        super(message);
        this.status = status;
        this.kind = kind;
    }
}

/**
 * @param {number} status
 * @param {string} text  the response body
 */
function refusal(status, text) {
    try {
        const { error, message } = JSON.parse(text);
        return new ApiError(status, String(error), String(message));
    } catch {
        return new ApiError(status, "server", `The server answered ${status}. Is it still running?`);
    }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
async function call(method, path, body) {
    /** @type {Record<string, string>} */
    const headers = { "Masklet-Client": CLIENT };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const response = await fetchOrExplain(`api${path}`, {
        method,
        headers,
        body: body === undefined ? null : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw refusal(response.status, text);
    return text ? JSON.parse(text) : null;
}

/** @type {() => Promise<T.About>} */
export const about = () => call("GET", "/about");
/** @type {(name: string) => Promise<T.Person>} */
export const rename = (name) => call("PUT", "/me", { name });
/** @type {(path: string, project: string) => Promise<T.FolderListing>} */
export const folder = (path, project) =>
    call("GET", `/folder?path=${encodeURIComponent(path)}&project=${project}`);

/** @type {() => Promise<T.ProjectList>} */
export const projects = () => call("GET", "/projects");
/** @type {(id: string) => Promise<T.Project>} */
export const project = (id) => call("GET", `/projects/${id}`);
/** @type {(name: string) => Promise<T.Project>} */
export const newProject = (name) => call("POST", "/projects", { name });
/** @type {(id: string, patch: T.ProjectChange) => Promise<T.Project>} */
export const changeProject = (id, patch) => call("PATCH", `/projects/${id}`, patch);
/** @type {(id: string) => Promise<null>} */
export const deleteProject = (id) => call("DELETE", `/projects/${id}`);

/** @type {(id: string) => Promise<T.Audit>} */
export const audit = (id) => call("GET", `/projects/${id}/audit?limit=1000`);
/** @type {(id: string) => Promise<T.PeopleOfProject>} */
export const people = (id) => call("GET", `/projects/${id}/people`);
/** @type {(id: string, body: T.NewProjectExport) => Promise<T.Export>} */
export const exportProject = (id, body) => call("POST", `/projects/${id}/exports`, body);

/** @type {(id: string, work: string) => Promise<T.Import>} */
export const importState = (id, work) => call("GET", `/projects/${id}/imports/${work}`);
/** @type {() => Promise<T.ModelList>} */
export const models = () => call("GET", "/models");
/** @type {(name: string) => Promise<T.Model>} */
export const measureModel = (name) => call("POST", "/models/measure", { name });

/** @type {(project: string, path: string) => Promise<T.Video>} */
export const openFromFolder = (project, path) => call("POST", `/projects/${project}/videos`, { path });
/** @type {(project: string, paths: string[]) => Promise<T.AddedFiles>} */
export const openAllFromFolder = (project, paths) => call("POST", `/projects/${project}/files`, { paths });
/** @type {(id: string) => Promise<T.Video>} */
export const video = (id) => call("GET", `/videos/${id}`);
/** @type {(id: string, patch: T.VideoChange) => Promise<T.Video>} */
export const changeVideo = (id, patch) => call("PATCH", `/videos/${id}`, patch);
/** @type {(id: string) => Promise<T.Channels>} */
export const channels = (id) => call("GET", `/videos/${id}/channels`);
/** @type {(id: string, start: number, stop: number) => Promise<T.FrameTimes>} */
export const times = (id, start, stop) => call("GET", `/videos/${id}/times?start=${start}&stop=${stop}`);
/** @type {(id: string) => Promise<null>} */
export const deleteVideo = (id) => call("DELETE", `/videos/${id}`);

/** @type {(id: string) => Promise<T.CommentList>} */
export const comments = (id) => call("GET", `/videos/${id}/comments`);
/** @type {(id: string, body: T.NewComment) => Promise<T.Comment>} */
export const addComment = (id, body) => call("POST", `/videos/${id}/comments`, body);
/** @type {(id: string, comment: string, resolved: boolean) => Promise<T.Comment>} */
export const resolveComment = (id, comment, resolved) =>
    call("PATCH", `/videos/${id}/comments/${comment}`, { resolved });
/** @type {(id: string) => Promise<T.ProblemList>} */
export const problems = (id) => call("GET", `/videos/${id}/problems`);

/** @type {(id: string, body: T.NewObject) => Promise<T.Object>} */
export const newObject = (id, body) => call("POST", `/videos/${id}/objects`, body);
/** @type {(id: string, object: number, patch: T.ObjectChange) => Promise<T.ChangedObject>} */
export const changeObject = (id, object, patch) => call("PATCH", `/videos/${id}/objects/${object}`, patch);
/** @type {(id: string, object: number) => Promise<null>} */
export const deleteObject = (id, object) => call("DELETE", `/videos/${id}/objects/${object}`);

/** @type {(id: string, body: T.NewPrompt) => Promise<T.PromptResult>} */
export const prompt = (id, body) => call("POST", `/videos/${id}/prompts`, body);
/** @type {(id: string, frame: number, point: T.Point) => Promise<T.Preview>} */
export const preview = (id, frame, point) => call("POST", `/videos/${id}/preview`, { frame, positive: [point] });
/** @type {(id: string, frame: number) => Promise<T.Segments>} */
export const everything = (id, frame) => call("POST", `/videos/${id}/everything`, { frame });
/** @type {(id: string, body: T.NewEdit) => Promise<T.EditResult>} */
export const edit = (id, body) => call("POST", `/videos/${id}/edits`, body);
/** @type {(id: string, frame: number, object: number) => Promise<T.FrameMasks>} */
export const clearPrompt = (id, frame, object) => call("DELETE", `/videos/${id}/prompts/${frame}/${object}`);
/** @type {(id: string, frame: number, object: number, rank: number) => Promise<T.FrameMasks>} */
export const choose = (id, frame, object, rank) =>
    call("POST", `/videos/${id}/candidates`, { frame, object, rank });
/** @type {(id: string, limit: number) => Promise<T.History>} */
export const history = (id, limit) => call("GET", `/videos/${id}/history?limit=${limit}`);
/** @type {(id: string, start: number, stop: number) => Promise<T.MaskPage>} */
export const masks = (id, start, stop) => call("GET", `/videos/${id}/masks?start=${start}&stop=${stop}`);

/** @type {(id: string, step: string | null) => Promise<T.Video>} */
export const undo = (id, step) => call("POST", `/videos/${id}/undo?step=${step ?? ""}`);
/** @type {(id: string, step: string | null) => Promise<T.Video>} */
export const redo = (id, step) => call("POST", `/videos/${id}/redo?step=${step ?? ""}`);

/** @type {(id: string, body: T.NewPropagation) => Promise<T.Propagation>} */
export const propagate = (id, body) => call("POST", `/videos/${id}/propagation`, body);
/** @type {(id: string) => Promise<T.Propagation>} */
export const stopPropagation = (id) => call("DELETE", `/videos/${id}/propagation`);

/** @type {(id: string, span: T.Span, bins: number) => Promise<T.Strips>} */
export const strips = (id, [start, stop], bins) =>
    call("GET", `/videos/${id}/strips?start=${start}&stop=${stop}&bins=${bins}`);
/** @type {(id: string, skip: number[]) => Promise<T.DoubtfulFrame | null>} */
export const doubtful = (id, skip) =>
    call("GET", `/videos/${id}/doubtful${skip.length ? `?skip=${skip.join(",")}` : ""}`);
/** @type {(id: string, span: T.Span, reviewed: boolean) => Promise<T.Video>} */
export const review = (id, [start, stop], reviewed) =>
    call("PUT", `/videos/${id}/reviewed`, { start, stop, reviewed });

/** @type {(id: string, body: T.NewExport) => Promise<T.Export>} */
export const newExport = (id, body) => call("POST", `/videos/${id}/exports`, body);
/** @type {(id: string) => Promise<T.Export>} */
export const exportState = (id) => call("GET", `/exports/${id}`);

/** @type {(id: string, frame: number, width: number | null, channel: number | null) => string} */
export const frameAddress = (id, frame, width, channel) =>
    `api/videos/${id}/frames/${frame}.jpg${query({ width, channel })}`;
/** @type {(id: string, frame: number, channel: number | null) => string} */
export const thumbnailAddress = (id, frame, channel) => `api/videos/${id}/thumbnails/${frame}.jpg${query({ channel })}`;
/** @type {(values: Record<string, number | null>) => string} */
const query = (values) => {
    const given = Object.entries(values).filter(([, value]) => value !== null);
    return given.length ? `?${given.map((pair) => pair.join("=")).join("&")}` : "";
};
/** @type {(id: string) => string} */
export const exportAddress = (id) => `api/exports/${id}/file`;

/**
 * Fetch an image. Throws the server's error message if there is none.
 *
 * @param {string} address
 * @returns {Promise<ImageBitmap>}
 */
export async function image(address) {
    const response = await fetchOrExplain(address);
    if (!response.ok) throw refusal(response.status, await response.text());
    return createImageBitmap(await response.blob());
}

/**
 * @param {string} address
 * @param {RequestInit} [options]
 */
async function fetchOrExplain(address, options) {
    try {
        return await fetch(address, options);
    } catch {
        throw new ApiError(0, "offline", "The server cannot be reached. Your earlier changes are saved.");
    }
}

/**
 * Send a file of annotations.
 *
 * @param {string} project
 * @param {File} file
 * @param {string | null} video  for annotations that name no video
 * @returns {Promise<T.Import>}
 */
export async function importFile(project, file, video) {
    const form = new FormData();
    form.append("file", file);
    if (video) form.append("video", video);
    const response = await fetchOrExplain(`api/projects/${project}/imports`, {
        method: "POST",
        headers: { "Masklet-Client": CLIENT },
        body: form,
    });
    const text = await response.text();
    if (!response.ok) throw refusal(response.status, text);
    return JSON.parse(text);
}

/**
 * Upload a file. `progress` is called with the fraction sent so far, which `fetch` does not report.
 *
 * @param {string} project
 * @param {File} file
 * @param {(share: number) => void} progress
 * @returns {Promise<T.Video>}
 */
export function upload(project, file, progress) {
    return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open("POST", `api/projects/${project}/uploads`);
        request.setRequestHeader("Masklet-Client", CLIENT);
        request.upload.onprogress = (event) =>
            progress(event.lengthComputable ? event.loaded / event.total : 0);
        request.onload = () => {
            if (request.status < 300) resolve(JSON.parse(request.responseText));
            else reject(refusal(request.status, request.responseText));
        };
        request.onerror = () =>
            reject(new ApiError(0, "offline", "The upload was interrupted. Is the server still running?"));
        const form = new FormData();
        form.append("file", file);
        request.send(form);
    });
}
