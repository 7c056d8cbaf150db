"""The imperative shell: gather the facts, ask the planner, carry the answer out."""
