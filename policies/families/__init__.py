"""One file per model family; `policies.families.registry` finds them."""
