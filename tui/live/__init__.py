"""The current roll call, collected from the registries and tmux and delivered on each change."""
