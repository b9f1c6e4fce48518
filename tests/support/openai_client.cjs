// OpenAI's own Node client, unchanged, against BASE_URL and MODEL; what it saw goes to standard
// output as JSON. The module comes by NODE_PATH.
const { OpenAI, NotFoundError } = require("openai");

async function main(baseURL, model) {
  const client = new OpenAI({ baseURL, apiKey: "unused" });
  const messages = [{ role: "user", content: "import os" }];
  const asked = { model, messages, max_tokens: 8 };

  const models = [];
  for await (const each of client.models.list()) models.push(each.id);
  const whole = await client.chat.completions.create(asked);
  const completion = await client.completions.create({ model, prompt: "def f(", max_tokens: 8 });
  const chunks = [];
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    chunks.push(...chunk.choices);
  }
  const refusal = await client.chat.completions
    .create({ ...asked, model: "nothing" })
    .catch((error) => error);
  return {
    models,
    owner: (await client.models.retrieve(model)).owned_by,
    chat: whole.choices[0].message.content,
    tokens: whole.usage.completion_tokens,
    completion: completion.choices[0].text,
    streamed: chunks.map((choice) => choice.delta.content ?? ""),
    finished: chunks.at(-1).finish_reason,
    refused: refusal instanceof NotFoundError && refusal.message,
  };
}

main(...process.argv.slice(2)).then((seen) => console.log(JSON.stringify(seen)));
