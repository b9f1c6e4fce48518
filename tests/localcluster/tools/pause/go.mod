module llmcloud.dev/tests/localcluster/tools/pause

go 1.26
