"""Coming from 0.0.4: databases made by its own code, in an environment of its own, are taken over by ours."""
