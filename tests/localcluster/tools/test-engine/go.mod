module llmcloud.dev/tests/localcluster/tools/test-engine

go 1.26
