"""Downloads from the hub, in the job's environment: listed, downloaded, verified. No torch."""
