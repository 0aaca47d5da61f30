"""The promises that `registry.agent_output` keeps."""
