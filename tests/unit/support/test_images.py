"""What `make images` prints."""

from tests.localcluster.image_build import chart_values


def test_references_of_images_are_values_of_the_chart() -> None:
    references = {"operator": "host:5000/team/llmcloud/operator:1234567890123e45"}
    image = {"repository": "host:5000/team/llmcloud/operator", "tag": "1234567890123e45"}
    assert chart_values(references) == {"images": {"operator": image}}
