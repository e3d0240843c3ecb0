/**
 * What the server sends, as docs/api.md describes it.
 *
 * @typedef {{id: string, name: string}} Person
 * @typedef {{id: string, title: string, file: string}} Format
 *
 * @typedef {object} About
 * @property {string} version
 * @property {string} model
 * @property {string} device
 * @property {string | null} folder
 * @property {string[]} policies
 * @property {Person} person
 * @property {Format[]} formats
 * @property {Record<string, number>} limits
 *
 * @typedef {object} Entry  something in the folder that the server was started with
 * @property {string} name
 * @property {string} path
 * @property {"folder" | "video" | "picture" | "pictures"} kind
 * @property {number} [bytes]
 *
 * @typedef {object} VideoCard  a video as projects list it
 * @property {string} id
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {number} frames
 * @property {number} fps
 * @property {number} objects
 * @property {number} reviewed
 *
 * @typedef {{id: string, name: string, policy: string, created: string, videos: VideoCard[]}} Project
 *
 * @typedef {object} Thing  an object that is followed
 * @property {number} id
 * @property {string} name
 * @property {string} color
 * @property {boolean} hidden
 * @property {number[]} prompted
 *
 * @typedef {[number, number]} Point
 * @typedef {[number, number, number, number]} Box
 * @typedef {[number, number]} Span  a range of frames: start, and stop just behind
 *
 * @typedef {object} Said
 * @property {Point[]} positive
 * @property {Point[]} negative
 * @property {Box | null} box
 * @property {boolean} mask
 *
 * @typedef {{frame: number, object: number, prompt: Said}} PromptAt
 *
 * @typedef {object} Propagation
 * @property {"waiting" | "running" | "stopped" | "finished" | "failed"} state
 * @property {"forward" | "backward" | "both"} direction
 * @property {number} frame
 * @property {number} done
 * @property {number} total
 * @property {number | null} seconds_left
 * @property {number | null} fps
 * @property {number[]} objects
 * @property {string} person
 * @property {string | null} message
 *
 * @typedef {object} Video
 * @property {string} id
 * @property {string} project
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {number} frames
 * @property {number} fps
 * @property {"video" | "picture"} kind
 * @property {number} head
 * @property {boolean} can_undo
 * @property {boolean} can_redo
 * @property {string | null} undo
 * @property {string | null} redo
 * @property {Thing[]} objects
 * @property {PromptAt[]} prompts
 * @property {Span[]} reviewed
 * @property {Record<string, Span[]>} followed
 * @property {{objects: number[], start: number} | null} affected
 * @property {Propagation | null} propagation
 * @property {{frame: number, done: number, total: number, direction: string} | null} unfinished
 *
 * @typedef {object} Mask
 * @property {number} object
 * @property {string} counts
 * @property {number} iou
 * @property {number} score
 * @property {number} confidence
 * @property {Box | null} box
 * @property {boolean} prompted
 *
 * @typedef {{rank: number, iou: number, counts: string, chosen?: boolean}} Candidate
 * @typedef {{head: number, frame: number, masks: Mask[], candidates?: Candidate[], milliseconds?: number}} Answer
 *
 * @typedef {object} Strip
 * @property {number} object
 * @property {(number | null)[]} confidence
 * @property {number[]} absent
 * @property {number[]} prompted
 *
 * @typedef {object} Strips
 * @property {number} start
 * @property {number} stop
 * @property {number} bins
 * @property {Strip[]} objects
 * @property {number[]} reviewed
 *
 * @typedef {object} Export
 * @property {string} id
 * @property {string} video
 * @property {string} format
 * @property {"waiting" | "running" | "finished" | "failed"} state
 * @property {number} done
 * @property {number} total
 * @property {string} file
 * @property {number | null} bytes
 * @property {string | null} message
 *
 * @typedef {object} PromptBody
 * @property {number} frame
 * @property {number} object
 * @property {Point[]} [positive]
 * @property {Point[]} [negative]
 * @property {Box} [box]
 * @property {import("./rle.js").Rle} [mask]
 * @property {boolean} [candidates]
 *
 * @typedef {object} FollowBody
 * @property {"forward" | "backward" | "both"} [direction]
 * @property {number | null} [start]
 * @property {number | null} [stop]
 * @property {number[] | null} [objects]
 * @property {"affected"} [scope]
 * @property {boolean} [resume]
 */

export {};
