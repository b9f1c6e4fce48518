"""The gateway: OpenAI's HTTP API in front of the engines' replicas.

It routes by model name, holds requests while no replica is free, relays streams chunk by chunk
and counts what the autoscaler needs. It holds no keys and no state that outlives the process.
"""
