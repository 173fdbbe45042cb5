"""Contrastive unpaired translation for munit_zoo: PatchNCE, CUT and FastCUT."""
