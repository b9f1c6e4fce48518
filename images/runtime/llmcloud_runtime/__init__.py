"""What runs on accelerators and big CPUs: the trainer, its evaluation, and the engine.

`python -m llmcloud_runtime.train` runs one attempt of a training job, `python -m
llmcloud_runtime.engine` serves one model. Modules that need torch say so by importing it; the
others decide, and are tested without it.
"""
