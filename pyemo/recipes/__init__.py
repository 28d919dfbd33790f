"""The packaged recipes: one YAML file a published system or packaged model."""
