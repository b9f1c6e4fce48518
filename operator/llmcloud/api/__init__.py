"""The schema: pydantic models of the custom resources, and what operator and pods share."""
