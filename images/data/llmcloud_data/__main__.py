"""`python -m llmcloud_data`: one dataset task, from the environment to the exit code."""

import sys

from llmcloud.api.contract import DatasetTask
from llmcloud.cloud.pod import run
from llmcloud_data.prepare import prepare

if __name__ == "__main__":
    sys.exit(run((DatasetTask,), prepare))
