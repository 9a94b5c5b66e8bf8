"""Recipe + site + resources to a Plan: who runs where, how it is sharded, what to watch out for."""
