"""The live workbench: the same message to a model as it is and under an intervention, watched while both answer.

Everything but ``ui*.py`` and ``server.py`` does without gradio and can be called from a notebook.
"""
