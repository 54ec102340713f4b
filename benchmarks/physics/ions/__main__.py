from benchmarks.physics.ions.command import main

if __name__ == "__main__":
    main()
