"""The policy families whose engine is held against a plain transformers forward."""

FAMILIES = {
    # name: weight std that keeps logits far from uniform without saturating them
    "tiny-v3": 0.22,
    "tiny-v3-mla512": 0.16,
    "tiny-v2": 0.22,
    "tiny-qwen2": 0.22,
    "tiny-qwen3": 0.22,
    "tiny-llama": 0.22,
    "tiny-llama-tied": 0.22,
}
