"""Small, complete components, one a kind: what `munit-zoo new-plugin` starts a package from."""
