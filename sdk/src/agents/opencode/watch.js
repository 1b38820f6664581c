// Written by agent-runner for one run of OpenCode, which loads it as a plugin and calls it within its own process. It does two things:
// it puts the run's configuration over all that OpenCode has read, and it tells what OpenCode's stream leaves out: in the ledger all of it,
// on stderr, for people and so that the runner looks into the ledger, that a question to the model is repeated, and that all is done.
import { appendFileSync, readFileSync, rmSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const here = dirname(fileURLToPath(import.meta.url))
const ledger = join(here, "ledger.jsonl")
const { config: ours, hide } = take(join(here, "overlay.json"))

// It holds secrets: once read it is nobody else's to read.
function take(path) {
  const text = readFileSync(path, "utf8")
  rmSync(path)
  return JSON.parse(text)
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

function put(over, into) {
  for (const [key, value] of Object.entries(over)) {
    if (isObject(value) && isObject(into[key])) put(value, into[key])
    else if (Array.isArray(value) && Array.isArray(into[key])) into[key] = [...into[key], ...value]
    else into[key] = value
  }
}

function tells({ type, properties }) {
  if (type === "message.part.updated") return properties.part?.type === "step-finish"
  if (type === "message.updated") return properties.info?.role === "assistant"
  return ["session.created", "session.status", "session.error"].includes(type)
}

const children = new Set()

export const AgentRunner = async () => ({
  config: async (config) => {
    put(ours, config)
    // They have done what they are for: the configuration has the keys, plugins are installed. Programs that are started inherit the rest.
    for (const name of hide) delete process.env[name]
  },
  event: async ({ event }) => {
    if (!tells(event)) return
    appendFileSync(ledger, JSON.stringify(event) + "\n", { mode: 0o600 })
    const { info, sessionID, status } = event.properties
    if (event.type === "session.created" && info?.parentID) children.add(info.id)
    if (status?.type === "retry") process.stderr.write(`the model is asked again (${status.attempt}): ${status.message}\n`)
    if (status?.type === "idle" && !children.has(sessionID)) process.stderr.write("nothing more is to be done\n")
  },
})
