"""Tests of hpclaunch."""
