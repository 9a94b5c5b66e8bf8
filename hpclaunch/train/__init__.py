"""What the ranks execute: the only room that imports torch. Started, never imported."""
