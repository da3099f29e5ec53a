"""What runs in the operator's Python, or one made for it: nothing of this package but this folder is imported there.

Hence the relative imports. It has mlflow, scikit-learn and matplotlib, and gets URL and login in its environment.
"""
