from dfkd.cli import main

main()
