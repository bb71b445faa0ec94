SETTINGS = {}
def measure(bench):
    return {}, []
