"""From samples and events to summary, timeline and findings."""
